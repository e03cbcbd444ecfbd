//! How is Squid set? As an explicit forward proxy behind mTLS, with one process, no cache and no access log.
//!
//! It knows the device by its authority only: its lists of users read the subject of a certificate, where ours have none.
//! Names come from a file of hosts. Without a context for sessions it refuses those that devices resume.

use std::path::PathBuf;

use super::premises::{AUTHORITY, CERTIFICATE, HOSTS, KEY, Premises};
use super::{Asked, Found, Protection, Recipe, ask_program, on_path};

/// What reports call it.
pub(super) const NAME: &str = "squid";
/// Its settings.
const SETTINGS: &str = "squid.conf";
/// The hosts that it lets devices reach.
const HOSTS_ALLOWED: &str = "allowed";

/// The program, or why there is none.
pub(super) fn find() -> Result<Found, String> {
    let program = on_path("squid").ok_or("squid is not installed")?;
    let said = ask_program(&program, "-v")?;
    // Only OpenSSL lets it demand certificates.
    if !said.contains("--with-openssl") {
        return Err("squid is installed, but built without OpenSSL: it cannot demand certificates".into());
    }
    Ok(Found { program, version: version(&said) })
}

fn version(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

/// How it is run.
pub(super) fn recipe(program: PathBuf, premises: &Premises) -> Recipe {
    let origin = premises.origins.iter().map(|(name, _)| name.clone());
    let allowed: String = premises.others().chain(origin).map(|host| host + "\n").collect();
    let arguments = ["-N", "-n", premises.shared_memory(), "-f", &premises.named(SETTINGS)];
    Recipe {
        files: vec![(SETTINGS.to_owned(), settings(premises)), (HOSTS_ALLOWED.to_owned(), allowed)],
        program,
        arguments: arguments.map(str::to_owned).to_vec(),
        hop: Protection::Tls,
        asked: Asked::Names,
    }
}

fn settings(premises: &Premises) -> String {
    let path = |file| premises.named(file);
    let (address, port) = (premises.address(), premises.origin_port);
    let (certificate, key, authority) = (path(CERTIFICATE), path(KEY), path(AUTHORITY));
    let (hosts, allowed, log, id) = (path(HOSTS), path(HOSTS_ALLOWED), path("cache.log"), path("squid.pid"));
    format!(
        r#"https_port {address} tls-cert={certificate} tls-key={key} clientca={authority} tls-cafile={authority} tls-context=loadtest tls-min-version=1.3
hosts_file {hosts}
acl allowed dstdomain "{allowed}"
acl ports port 443 {port}
http_access allow allowed ports
http_access deny all
cache deny all
cache_mem 0
access_log none
cache_store_log none
cache_log {log}
pid_filename {id}
pinger_enable off
visible_hostname localhost
client_lifetime 1 day
read_timeout 1 hour
shutdown_lifetime 0 seconds
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_demanded_and_a_hundred_hosts_allowed() {
        let premises = Premises::example();
        let dir = premises.dir().display().to_string();
        let recipe = recipe("/usr/sbin/squid".into(), &premises);
        let [(_, settings), (_, allowed)] = &recipe.files[..] else { panic!("{recipe:?}") };
        let port = format!(
            "https_port 127.0.0.1:3128 tls-cert={dir}/gateway.pem tls-key={dir}/gateway.key \
             clientca={dir}/ca.pem tls-cafile={dir}/ca.pem tls-context=loadtest tls-min-version=1.3\n"
        );
        assert!(settings.starts_with(&port), "{settings}");
        for line in [
            "acl ports port 443 8080",
            "http_access allow allowed ports\nhttp_access deny all",
            "access_log none",
        ] {
            assert!(settings.contains(line), "{line} is not in {settings}");
        }
        assert_eq!(allowed.lines().count(), 100);
        assert!(allowed.ends_with("api-98.example.com\no0.origin.test\no1.origin.test\n"));
    }

    #[test]
    fn the_version_is_the_last_word_of_the_first_line() {
        assert_eq!(version("Squid Cache: Version 5.7\nService Name: squid"), "5.7");
    }
}
