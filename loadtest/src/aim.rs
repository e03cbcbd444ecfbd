//! What does a run aim at? A gateway started for it, with the bare relay and peers beside it; or a proxy that runs already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::cores::Cores;
use crate::deployment::{Deployment, Program};
use crate::origin::Origin;
use crate::peer::{Peer, Peers};
use crate::process::Running;
use crate::relay;
use crate::report::{Report, progress};
use crate::subject::{Hop, Protocol, Subject, client_tls_of_files};

/// The device that load comes from, unless a scenario makes more.
pub(crate) const DEVICE: &str = "device-0";

/// Options that say what is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Aim {
    /// The `portcullis` program to start, unless it is the one beside this program.
    #[arg(long, value_name = "FILE")]
    gateway_binary: Option<PathBuf>,
    /// Keep the throw-away deployment, to look into it.
    #[arg(long)]
    keep: bool,
    /// Let proxy and load share all cores.
    #[arg(long)]
    unpinned: bool,
    /// Leave out the bare relay.
    #[arg(long)]
    no_relay: bool,
    /// Whether the relay gives tickets.
    #[arg(skip)]
    tickets: bool,
    #[command(flatten)]
    peers: Peers,
    #[command(flatten)]
    running: Option<RunningProxy>,
}

/// A proxy that runs already.
#[derive(Debug, Clone, clap::Args)]
struct RunningProxy {
    /// Measure the proxy that listens here instead of starting a gateway.
    #[arg(long, value_name = "ADDRESS", required = false, requires_all = ["proxy_ca", "certificate", "key", "origin", "destination"])]
    proxy: SocketAddr,
    /// The authority of its certificate, PEM.
    #[arg(long, value_name = "FILE", required = false)]
    proxy_ca: PathBuf,
    /// The name in its certificate.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    server_name: String,
    /// The certificate of the device, PEM.
    #[arg(long, value_name = "FILE", required = false)]
    certificate: PathBuf,
    /// The key of the device, PEM.
    #[arg(long, value_name = "FILE", required = false)]
    key: PathBuf,
    /// Where the origin is to listen for it.
    #[arg(long, value_name = "ADDRESS", required = false)]
    origin: SocketAddr,
    /// By what name and port the proxy is asked for that origin.
    #[arg(long, value_name = "HOST:PORT", required = false)]
    destination: String,
    /// Its process, to read what it costs.
    #[arg(long)]
    pid: Option<u32>,
}

/// Everything that a run needs, running.
#[derive(Debug)]
pub(crate) struct Bench {
    /// What is measured; the reference comes last.
    pub(crate) subjects: Vec<Subject>,
    /// The destination, not yet served.
    pub(crate) origin: Origin,
    /// What was started for the run.
    pub(crate) started: Option<Started>,
}

/// What was started for a run, and ends with it.
#[derive(Debug)]
pub(crate) struct Started {
    _relay: Option<Running>,
    _peers: Vec<Peer>,
    /// The gateway and its files.
    pub(crate) deployment: Deployment,
}

/// Where proxy and load run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The proxy on the first core, the load on the others.
    Apart,
    /// Everything on every core.
    Together,
}

impl Aim {
    /// The same, beside every peer that is here.
    pub(crate) fn beside_everyone(&self) -> Self {
        Self { peers: self.peers.everyone(), ..self.clone() }
    }

    /// The same, with a relay that lets clients resume.
    pub(crate) fn resuming(&self) -> Self {
        Self { tickets: true, ..self.clone() }
    }

    /// The same, without the relay.
    pub(crate) fn alone(&self) -> Self {
        Self { no_relay: true, ..self.clone() }
    }

    /// Whether the proxy is one that runs already.
    pub(crate) fn runs_already(&self) -> bool {
        self.running.is_some()
    }

    /// The certificate of the device, when it was named.
    pub(crate) fn certificate(&self) -> Option<&Path> {
        self.running.as_ref().map(|running| running.certificate.as_path())
    }

    /// The client side of mTLS with a proxy that runs already, by another certificate.
    ///
    /// # Errors
    /// When a file cannot be read, or none runs.
    pub(crate) fn credentials(&self, certificate: &Path, key: &Path) -> anyhow::Result<Arc<ClientConfig>> {
        self.running.as_ref().context("no proxy runs already")?.credentials(certificate, key)
    }

    /// Sets everything up. What goes into the report about it is written there.
    ///
    /// # Errors
    /// What could not be started.
    pub(crate) fn bench(&self, placement: Placement, report: &mut Report) -> anyhow::Result<Bench> {
        if let Some(running) = &self.running {
            return running.bench(report);
        }
        let cores = if placement == Placement::Apart && !self.unpinned { Cores::divide()? } else { None };
        let origin = Origin::bind()?;
        let mut deployment = self.deployment(&origin, report)?;
        let device = deployment.device(DEVICE)?;
        if let Some(cores) = &cores {
            report.method("proxy on the first core, load and origin on the others");
            cores.as_proxy()?;
        }
        progress("starting the gateway");
        let gateway = deployment.start(device)?;
        let peers = self.peers.start(&deployment, &origin, &gateway, report)?;
        let mut subjects = vec![gateway];
        subjects.extend(peers.iter().map(|peer| peer.subject.clone()));
        let mut child = None;
        if !self.no_relay {
            let (running, address) = relay::start(&deployment, &origin, self.tickets)?;
            subjects.extend(subjects.first().map(|gateway| relay::subject(gateway, address, running.id())));
            child = Some(running);
            report.reference(relay::NAME);
        }
        if let Some(cores) = &cores {
            cores.as_load()?;
        }
        Ok(Bench { subjects, origin, started: Some(Started { _relay: child, _peers: peers, deployment }) })
    }

    /// A deployment whose gateway has not started.
    ///
    /// # Errors
    /// What could not be made.
    pub(crate) fn deployment(&self, origin: &Origin, report: &mut Report) -> anyhow::Result<Deployment> {
        let program = Program::find(self.gateway_binary.as_deref())?;
        report.version("gateway", program.version()?);
        report.method("TLS 1.3, AES-128-GCM, X25519, ECDSA P-256; manifests of 100 entries");
        let mut deployment = Deployment::found(program, origin)?;
        if self.keep {
            let kept = deployment.keep().display().to_string();
            report.method(format!("deployment kept in {kept}"));
        }
        Ok(deployment)
    }
}

impl RunningProxy {
    fn bench(&self, report: &mut Report) -> anyhow::Result<Bench> {
        report.method("TLS 1.3, AES-128-GCM, X25519; a proxy that was running already");
        let subject = Subject {
            name: self.proxy.to_string(),
            address: self.proxy,
            hop: Hop::Tls {
                server_name: ServerName::try_from(self.server_name.clone())?,
                config: self.credentials(&self.certificate, &self.key)?,
            },
            protocol: Protocol::H1,
            process: self.pid,
            destinations: Arc::from([self.destination.clone()]),
        };
        Ok(Bench { subjects: vec![subject], origin: Origin::at(self.origin)?, started: None })
    }

    fn credentials(&self, certificate: &Path, key: &Path) -> anyhow::Result<Arc<ClientConfig>> {
        client_tls_of_files(&self.proxy_ca, certificate, key)
    }
}

impl Bench {
    /// Adds the end of the gateway's log to a fault.
    pub(crate) fn explain(started: Option<&Started>, fault: anyhow::Error) -> anyhow::Error {
        match started {
            Some(started) => {
                fault.context(format!("the end of the gateway's log:\n{}", started.deployment.log()))
            }
            None => fault,
        }
    }
}
