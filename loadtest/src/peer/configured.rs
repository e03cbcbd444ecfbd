//! Which other proxies run beside the gateway? Those that a file describes: a command to start, or a proxy that runs already.
//!
//! In a command, and in the files that it reads, `{port}`, `{cert}`, `{key}`, `{ca}`, `{allowlist}`, `{hosts}`, `{device}`
//! and `{dir}` stand for what the peer is given. The allowlist has an authority on each line; `{device}` is the URI in the
//! certificate of the device.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls_pki_types::ServerName;
use serde::Deserialize;

use super::premises::{ALLOWLIST, AUTHORITY, CERTIFICATE, HOSTS, KEY, Premises, Runs};
use super::{Asked, Peer, Protection, Recipe, begin};
use crate::deployment::Deployment;
use crate::origin::Origin;
use crate::subject::{Hop, Subject, client_tls_of_files};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    #[serde(default)]
    peer: Vec<Configured>,
}

/// One proxy of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Configured {
    name: String,
    /// What reports say of its version.
    #[serde(default)]
    version: String,
    protection: Protection,
    asked: Asked,
    /// How it is started.
    #[serde(default)]
    command: Vec<String>,
    /// Files that it reads, by name.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Where it runs already.
    address: Option<SocketAddr>,
    /// Its process, when it runs already.
    pid: Option<u32>,
    /// How one speaks to it, when it runs already behind TLS.
    credentials: Option<Credentials>,
}

/// What a client needs for a proxy that was set up by somebody else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    server_name: String,
    proxy_ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// The proxies that a file describes; none without a file.
///
/// # Errors
/// When it cannot be read, or what it says makes no sense.
pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Vec<Configured>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    parse(&text).with_context(|| file.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<Configured>> {
    let described: Described = toml::from_str(text)?;
    for peer in &described.peer {
        peer.check().with_context(|| format!("the peer {:?}", peer.name))?;
    }
    Ok(described.peer)
}

impl Configured {
    fn check(&self) -> anyhow::Result<()> {
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        ensure!(plain(&self.name), "a name consists of letters, digits, dots and dashes");
        ensure!(self.files.keys().all(|name| plain(name)), "a file is named without its directory");
        ensure!(self.command.is_empty() == self.address.is_some(), "either a command or an address");
        let behind_tls = self.address.is_some() && self.protection == Protection::Tls;
        ensure!(behind_tls == self.credentials.is_some(), "credentials go with an address behind TLS");
        Ok(())
    }

    /// Starts it, unless it runs already.
    ///
    /// # Errors
    /// When it does not start, or its credentials cannot be read.
    pub(super) fn start(
        &self,
        deployment: &Deployment,
        origin: &Origin,
        gateway: &Subject,
    ) -> anyhow::Result<Peer> {
        let premises = Premises::found(&self.name, Runs::AsRoot, deployment, origin)?;
        if let Some(address) = self.address {
            return self.running(address, &premises, gateway);
        }
        let recipe = self.recipe(&premises).context("an empty command")?;
        begin(&self.name, self.version.clone(), premises, recipe, gateway)
    }

    fn running(&self, address: SocketAddr, premises: &Premises, gateway: &Subject) -> anyhow::Result<Peer> {
        let hop = self.credentials.as_ref().map_or(Ok(Hop::Plain), Credentials::hop)?;
        let subject = Subject {
            name: self.name.clone(),
            address,
            hop,
            process: self.pid,
            destinations: Arc::from(premises.destinations(self.asked)),
            ..gateway.clone()
        };
        Ok(Peer { _running: None, _premises: None, subject, version: self.version.clone() })
    }

    fn recipe(&self, premises: &Premises) -> Option<Recipe> {
        let fill = |text: &String| fill(text, premises);
        let mut command = self.command.iter().map(fill);
        Some(Recipe {
            program: PathBuf::from(command.next()?),
            arguments: command.collect(),
            files: self.files.iter().map(|(name, text)| (name.clone(), fill(text))).collect(),
            hop: self.protection,
            asked: self.asked,
        })
    }
}

impl Credentials {
    fn hop(&self) -> anyhow::Result<Hop> {
        Ok(Hop::Tls {
            server_name: ServerName::try_from(self.server_name.clone())?,
            config: client_tls_of_files(&self.proxy_ca, &self.certificate, &self.key)?,
        })
    }
}

/// Puts what the peer is given where its placeholders are.
fn fill(text: &str, premises: &Premises) -> String {
    let given = [
        ("{port}", premises.address().port().to_string()),
        ("{cert}", premises.named(CERTIFICATE)),
        ("{key}", premises.named(KEY)),
        ("{ca}", premises.named(AUTHORITY)),
        ("{allowlist}", premises.named(ALLOWLIST)),
        ("{hosts}", premises.named(HOSTS)),
        ("{device}", premises.device.clone()),
        ("{dir}", premises.named("")),
    ];
    given.iter().fold(text.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = r#"
        [[peer]]
        name = "other"
        protection = "tls"
        asked = "names"
        command = ["other", "--listen", "127.0.0.1:{port}", "--settings", "{dir}other.toml"]
        [peer.files]
        "other.toml" = "certificate = '{cert}'"
    "#;

    #[test]
    fn placeholders_are_filled_in_commands_and_files() {
        let premises = Premises::example();
        let peers = parse(STARTED).unwrap();
        let recipe = peers[0].recipe(&premises).unwrap();
        let dir = premises.dir().display();
        assert_eq!(recipe.program, Path::new("other"));
        assert_eq!(recipe.arguments[1], "127.0.0.1:3128");
        assert_eq!(recipe.arguments[3], format!("{dir}/other.toml"));
        assert_eq!(recipe.files, [("other.toml".to_owned(), format!("certificate = '{dir}/gateway.pem'"))]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let running = r#"address = "127.0.0.1:1080""#;
        for (lines, expected) in [
            (r#"command = ["a"]"#, Ok(())),
            (running, Err("credentials go with an address behind TLS")),
            ("", Err("either a command or an address")),
            (
                r#"command = ["a"]
                files = {"../a" = ""}"#,
                Err("a file is named without its directory"),
            ),
            (
                r#"command = ["a"]
                colour = "red""#,
                Err("unknown field `colour`"),
            ),
        ] {
            let text = format!("[[peer]]\nname = \"a\"\nprotection = \"tls\"\nasked = \"names\"\n{lines}\n");
            let said = parse(&text).map(|_| ()).map_err(|fault| format!("{fault:#}"));
            match expected {
                Ok(()) => assert_eq!(said, Ok(()), "{lines}"),
                Err(expected) => {
                    assert!(said.as_ref().is_err_and(|said| said.contains(expected)), "{said:?}")
                }
            }
        }
    }
}
