//! Whom is the gateway measured beside? Other CONNECT proxies, found on this machine and started for the run.
//!
//! Each gets a directory of its own with the certificates of the deployment, an allowlist of a hundred entries and the names
//! of the origin, listens on loopback, and ends with the run, by its process id. Where it can, it demands the certificate of
//! the device: TLS 1.3 with the same algorithms as the gateway. What it writes for every request is turned off: that is in
//! its favour, for the gateway writes its record of every session.
//!
//! [`squid`], [`tinyproxy`] and [`envoy`] say how each of them is set; [`configured`] is any other, from a file.
//! [`mod@install`] is how the known ones are had. A peer that is not here is said to be missing; that is no fault.

mod configured;
mod envoy;
mod install;
mod premises;
mod squid;
mod tinyproxy;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::deployment::{Deployment, tail};
use crate::dial;
use crate::origin::Origin;
use crate::process::Running;
use crate::report::{Report, progress};
use crate::subject::{Hop, Subject};
use premises::{Premises, Runs};

/// How long a peer may take until it listens.
const START: Duration = Duration::from_secs(20);
/// How often it is asked whether it does.
const TICK: Duration = Duration::from_millis(20);

/// Options that say which peers run beside the gateway.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Peers {
    /// Measure these beside it, when they are here.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,...")]
    peers: Vec<Known>,
    /// Measure the peers that this file names, too (TOML; docs/benchmarks.md shows one).
    #[arg(long, value_name = "FILE")]
    peer_file: Option<PathBuf>,
    /// Install those that are missing: by apt-get as root, by pip into a directory beside this program.
    #[arg(long)]
    install: bool,
}

/// The peers that this program knows how to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Known {
    /// Squid with OpenSSL.
    Squid,
    /// Envoy as a forward proxy.
    Envoy,
    /// tinyproxy, which has no TLS on this side.
    Tinyproxy,
}

/// A peer that runs. Fields go in this order: the process ends before its files do.
#[derive(Debug)]
pub(crate) struct Peer {
    _running: Option<Running>,
    _premises: Option<Premises>,
    /// As clients see it.
    pub(crate) subject: Subject,
    version: String,
}

/// How a peer is run on its premises.
#[derive(Debug)]
struct Recipe {
    /// Its files: a name and what is in it.
    files: Vec<(String, String)>,
    program: PathBuf,
    arguments: Vec<String>,
    hop: Protection,
    asked: Asked,
}

/// What protects the way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protection {
    /// The mTLS of the gateway's deployment.
    Tls,
    /// Nothing.
    Plain,
}

/// How a peer is asked for the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    /// By names that it can be told the addresses of.
    Names,
    /// By addresses: it asks the system for names, which does not know ours.
    Addresses,
}

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    program: PathBuf,
    version: String,
}

impl Peers {
    /// Every peer that is known, and those of a file.
    pub(crate) fn everyone(&self) -> Self {
        let peers = if self.peers.is_empty() { Known::ALL.to_vec() } else { self.peers.clone() };
        Self { peers, ..self.clone() }
    }

    /// Starts what is here, on the core of this thread; the report says which, and what is missing.
    ///
    /// # Errors
    /// A peer that is here and does not start, or a file that cannot be read.
    pub(crate) fn start(
        &self,
        deployment: &Deployment,
        origin: &Origin,
        gateway: &Subject,
        report: &mut Report,
    ) -> anyhow::Result<Vec<Peer>> {
        let mut running = Vec::new();
        for known in &self.peers {
            match known.find_or(self.install) {
                Ok(found) => {
                    let premises = Premises::found(known.name(), known.runs(), deployment, origin)?;
                    let recipe = known.recipe(&found, &premises);
                    running.push(begin(known.name(), found.version, premises, recipe, gateway)?);
                }
                Err(why) => report.method(format!("{} is left out: {why}", known.name())),
            }
        }
        for configured in configured::read(self.peer_file.as_deref())? {
            running.push(configured.start(deployment, origin, gateway)?);
        }
        for peer in &running {
            report.version(&peer.subject.name, peer.version.as_str());
        }
        Ok(running)
    }
}

impl Known {
    const ALL: [Self; 3] = [Self::Envoy, Self::Squid, Self::Tinyproxy];

    /// What reports call it.
    fn name(self) -> &'static str {
        match self {
            Self::Squid => squid::NAME,
            Self::Envoy => envoy::NAME,
            Self::Tinyproxy => tinyproxy::NAME,
        }
    }

    /// The program, or why there is none.
    fn find(self) -> Result<Found, String> {
        match self {
            Self::Squid => squid::find(),
            Self::Envoy => envoy::find(),
            Self::Tinyproxy => tinyproxy::find(),
        }
    }

    /// The program, installed when it is missing and that is wanted, or why there is none.
    fn find_or(self, install: bool) -> Result<Found, String> {
        self.find().or_else(|missing| {
            if !install {
                return Err(format!("{missing}; to have it: {}", install::commands(self)));
            }
            progress(format_args!("installing {}", self.name()));
            install::install(self).map_err(|fault| format!("{missing}; {fault:#}"))?;
            self.find()
        })
    }

    /// Squid will not run as root.
    fn runs(self) -> Runs {
        match self {
            Self::Squid => Runs::AsNobody,
            Self::Envoy | Self::Tinyproxy => Runs::AsRoot,
        }
    }

    fn recipe(self, found: &Found, premises: &Premises) -> Recipe {
        let program = found.program.clone();
        match self {
            Self::Squid => squid::recipe(program, premises),
            Self::Envoy => envoy::recipe(program, premises),
            Self::Tinyproxy => tinyproxy::recipe(program, premises),
        }
    }
}

/// Writes a peer's files, starts it, and waits until it listens.
fn begin(
    name: &str,
    version: String,
    mut premises: Premises,
    recipe: Recipe,
    gateway: &Subject,
) -> anyhow::Result<Peer> {
    progress(format_args!("starting {name}"));
    for (file, text) in &recipe.files {
        premises.write(file, text)?;
    }
    let mut command = Command::new(&recipe.program);
    command.args(&recipe.arguments).stdin(Stdio::null());
    let mut running = Running(premises.spawn(command).with_context(|| format!("starting {name}"))?);
    let began = Instant::now();
    while !dial::listens(premises.address()) {
        if running.0.try_wait()?.is_some() || began.elapsed() > START {
            bail!("{name} does not listen; the end of its log:\n{}", tail(&premises.log()));
        }
        std::thread::sleep(TICK);
    }
    let hop = match recipe.hop {
        Protection::Tls => gateway.hop.clone(),
        Protection::Plain => Hop::Plain,
    };
    let subject = Subject {
        name: name.to_owned(),
        address: premises.address(),
        hop,
        process: Some(running.id()),
        destinations: Arc::from(premises.destinations(recipe.asked)),
        ..gateway.clone()
    };
    Ok(Peer { _running: Some(running), _premises: Some(premises), subject, version })
}

/// A program of this name where programs are, or in the directories of daemons.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(daemons).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What a program prints when it is asked this.
fn ask_program(program: &Path, argument: &str) -> Result<String, String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output();
    let output = output.map_err(|fault| format!("{} does not run: {fault}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("sh").is_some());
        assert_eq!(on_path("a program that nobody wrote"), None);
    }

    #[test]
    fn without_a_choice_everyone_is_measured() {
        assert_eq!(Peers::default().everyone().peers, Known::ALL);
        let chosen = Peers { peers: vec![Known::Squid], ..Peers::default() };
        assert_eq!(chosen.everyone().peers, [Known::Squid]);
    }
}
