//! How is tinyproxy set? With a list of a hundred hosts and no log of requests.
//!
//! It has no TLS on the side of devices: what it costs does not compare with a proxy behind mTLS, and reports say so. It
//! asks the system for names, so it is asked for the origin by address.

use std::path::PathBuf;

use super::premises::Premises;
use super::{Asked, Found, Protection, Recipe, ask_program, on_path};

/// What reports call it.
pub(super) const NAME: &str = "tinyproxy";
/// Its settings.
const SETTINGS: &str = "tinyproxy.conf";
/// The hosts that it lets clients reach.
const FILTER: &str = "filter";

/// The program, or why there is none.
pub(super) fn find() -> Result<Found, String> {
    let program = on_path("tinyproxy").ok_or("tinyproxy is not installed")?;
    let said = ask_program(&program, "-v")?;
    Ok(Found { program, version: said.rsplit(' ').next().unwrap_or_default().to_owned() })
}

/// How it is run.
pub(super) fn recipe(program: PathBuf, premises: &Premises) -> Recipe {
    let origin = premises.origins.iter().map(|(_, address)| address.to_string());
    let filter: String = premises.others().chain(origin).map(|host| host + "\n").collect();
    Recipe {
        files: vec![(SETTINGS.to_owned(), settings(premises)), (FILTER.to_owned(), filter)],
        program,
        arguments: ["-d", "-c", &premises.named(SETTINGS)].map(str::to_owned).to_vec(),
        hop: Protection::Plain,
        asked: Asked::Addresses,
    }
}

fn settings(premises: &Premises) -> String {
    let (address, origin_port) = (premises.address(), premises.origin_port);
    let (listen, port) = (address.ip(), address.port());
    let (filter, log) = (premises.named(FILTER), premises.named("tinyproxy.log"));
    format!(
        r#"Port {port}
Listen {listen}
Timeout 3600
MaxClients 20000
LogLevel Critical
LogFile "{log}"
Filter "{filter}"
FilterType fnmatch
FilterDefaultDeny Yes
ConnectPort {origin_port}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_denied() {
        let recipe = recipe("/usr/bin/tinyproxy".into(), &Premises::example());
        let [(_, settings), (_, filter)] = &recipe.files[..] else { panic!("{recipe:?}") };
        for line in ["Port 3128\nListen 127.0.0.1\n", "FilterDefaultDeny Yes\nConnectPort 8080\n"] {
            assert!(settings.contains(line), "{line} is not in {settings}");
        }
        assert_eq!(filter.lines().count(), 100);
        assert!(filter.ends_with("127.0.1.1\n127.0.1.2\n"));
        assert_eq!((recipe.hop, recipe.asked), (Protection::Plain, Asked::Addresses));
    }
}
