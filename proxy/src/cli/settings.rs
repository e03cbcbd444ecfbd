//! Where are the settings, and what do they say about a gateway that runs on this machine?

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use config::{GatewaySettings, Source};
use proxy::Addresses;

use super::exit::Failure;
use super::running::Running;

/// The settings file when none is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/portcullis/gateway.toml";

/// Reads a settings file.
pub(crate) fn read(path: &Path) -> Result<GatewaySettings, Failure> {
    Ok(GatewaySettings::read(&open(path)?)?)
}

/// Opens any file that a command was given.
pub(crate) fn open(path: &Path) -> Result<Source, Failure> {
    Source::open(path).map_err(|fault| unreadable(path, &fault))
}

/// The failure for a file that cannot be read.
pub(crate) fn unreadable(path: &Path, fault: &io::Error) -> Failure {
    let failure = Failure::configuration(format_args!("{}: {fault}", path.display()));
    match fault.kind() {
        io::ErrorKind::NotFound
            if [DEFAULT_PATH, super::control::DEFAULT_PATH].map(Path::new).contains(&path) =>
        {
            failure.help("name the settings file with --config")
        }
        _ => failure,
    }
}

/// How a command finds the gateway that it is about.
#[derive(Debug, clap::Args)]
pub(crate) struct WhichGateway {
    /// The admin listener of the running gateway.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The settings file of the gateway, which names its admin listener and its policy directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl WhichGateway {
    /// The settings that were named, if any were.
    pub(crate) fn settings(&self) -> Result<Option<GatewaySettings>, Failure> {
        self.config.as_deref().map(read).transpose()
    }

    /// The running gateway: as named, else as its settings say, else as the settings in the usual place say.
    pub(crate) fn running(&self) -> Result<Running, Failure> {
        if let Some(admin) = self.admin {
            return Ok(Running::new(admin));
        }
        let path = self.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        let settings = read(path).map_err(|failure| match self.config {
            Some(_) => failure,
            None => {
                failure.help("name the gateway's admin listener with --admin, or its settings with --config")
            }
        })?;
        Ok(Running::new(admin_address(&settings)))
    }

    /// Whether the user has named a gateway at all.
    pub(crate) fn is_named(&self) -> bool {
        self.admin.is_some() || self.config.is_some()
    }
}

/// The address to which the admin listener is bound, as the gateway wrote it down; else as the settings ask for.
fn admin_address(settings: &GatewaySettings) -> SocketAddr {
    let written = std::fs::read(settings.gateway.state_dir.join("addresses.json"));
    let addresses: Option<Addresses> = written.ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut admin = addresses.map_or(settings.listen.admin, |addresses| addresses.admin);
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    admin
}
