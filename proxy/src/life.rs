//! The life of the process: bind, build, announce, serve, reload, drain, end.
//!
//! Sessions run on a runtime of their own. Everything that controls them (the policy source, signals, sweeps, the admin
//! and PAC listeners) runs on other threads, so that neither side can delay the other: a revocation takes effect while
//! every worker is busy, and a scrape never waits behind a handshake.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use audit::{Event, EventType};
use config::files::{Reach, Readers, replace};
use config::{GatewaySettings, Reason};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::{assemble, pac_tls};
use crate::gateway::Gateway;
use crate::listening::bind;
use crate::notify::notify;
use crate::pac::{self, Pac};
use crate::policy::PolicyLink;
use crate::reload::reload;
use crate::sweep::{self, Sweep};
use crate::{admin, listener};

/// How long the last events may take to reach their file.
const FLUSH: Duration = Duration::from_secs(5);
/// How often a draining gateway looks whether its sessions have ended.
const DRAIN_TICK: Duration = Duration::from_millis(50);
/// How often the machine's own addresses are read again.
const REFRESH: Duration = Duration::from_secs(5);

/// Where a running gateway listens; also the content of `addresses.json` in its state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The process.
    pub pid: u32,
    /// The device port, on every address it is bound to.
    pub device: Vec<SocketAddr>,
    /// The admin port.
    pub admin: SocketAddr,
    /// The PAC port, if there is one.
    pub pac: Option<SocketAddr>,
}

/// Runs a gateway until it is told to end: SIGTERM or SIGINT drain it, SIGHUP reloads the settings at `path`.
///
/// # Errors
/// When it cannot start: what is wrong, naming the file or the address.
pub fn run(settings: GatewaySettings, path: &Path) -> anyhow::Result<()> {
    run_announcing(settings, path, |_| {})
}

/// As [`run`]; tells `announce` where it listens as soon as it does.
///
/// # Errors
/// As [`run`].
pub fn run_announcing(
    settings: GatewaySettings,
    path: &Path,
    announce: impl FnOnce(&Addresses),
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.gateway.state_dir)
        .with_context(|| format!("gateway.state_dir {}", settings.gateway.state_dir.display()))?;
    let listeners = Listeners::bind(&settings)?;
    let addresses = listeners.addresses()?;
    let gateway = assemble(settings, &addresses.all())?;
    let policy = PolicyLink::start(&gateway)?;
    let sessions = session_runtime(&gateway)?;
    for device in listeners.device {
        let device = {
            let _entered = sessions.enter();
            tokio::net::TcpListener::from_std(device)?
        };
        sessions.spawn(listener::accept(Arc::clone(&gateway), device));
    }
    announce_in_file(&gateway, &addresses)?;
    tracing::info!(device = ?addresses.device, admin = %addresses.admin, pac = ?addresses.pac, "listening");
    gateway.recorder.record(Event::new(EventType::Started));
    announce(&addresses);
    let control = Builder::new_current_thread().enable_all().thread_name("control").build()?;
    control.block_on(govern(&gateway, &policy, listeners.admin, listeners.pac, path))?;
    end(&gateway, policy, sessions);
    Ok(())
}

/// Everything that runs beside the sessions, until the gateway has drained.
async fn govern(
    gateway: &Arc<Gateway>,
    policy: &PolicyLink,
    admin: TcpListener,
    pac_listener: Option<TcpListener>,
    path: &Path,
) -> anyhow::Result<()> {
    let settings = gateway.settings.load_full();
    let ended = {
        let gateway = Arc::clone(gateway);
        async move { gateway.drain_begun().await }
    };
    let pac = match (&settings.listen.pac_proxy, &pac_listener) {
        (Some(proxy), Some(_)) => Some(Arc::new(Pac::new(proxy, pac_tls(&settings)?))),
        _ => None,
    };
    // The admin listener answers to the very end: an operator watches a drain.
    tokio::spawn(admin::serve(admin, Arc::clone(gateway), std::future::pending()));
    if let (Some(listener), Some(pac)) = (pac_listener, &pac) {
        tokio::spawn(pac::serve(listener, Arc::clone(pac), ended));
    }
    tokio::spawn(sweep_on(Arc::clone(gateway)));
    tokio::spawn(refresh_on(Arc::clone(gateway)));
    let mut hangups = signal(SignalKind::hangup())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            Some(()) = hangups.recv() => {
                notify(&[sd_notify::NotifyState::Reloading]);
                reload(gateway, policy, pac.as_deref(), path);
                notify(&[sd_notify::NotifyState::Ready]);
            }
            Some(()) = terminations.recv() => break,
            Some(()) = interrupts.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    drain(gateway).await;
    Ok(())
}

/// Lets live sessions end by themselves for a while, then ends them. Revocations go on taking effect meanwhile.
async fn drain(gateway: &Gateway) {
    let patience = gateway.settings.load().deadlines.drain;
    tracing::info!(sessions = gateway.registry.len(), ?patience, "draining");
    gateway.recorder.record(Event::new(EventType::Draining));
    gateway.drain.send_replace(true);
    let began = Instant::now();
    while !gateway.registry.is_empty() && began.elapsed() < patience {
        tokio::time::sleep(DRAIN_TICK).await;
    }
    let left = gateway.registry.snapshot();
    let cut = gateway.registry.trip(&left, |_| Some(Reason::Draining));
    tracing::info!(cut = cut.sessions, "drained");
    let until = Instant::now() + Duration::from_secs(1);
    while !gateway.registry.is_empty() && Instant::now() < until {
        tokio::time::sleep(DRAIN_TICK).await;
    }
}

fn end(gateway: &Gateway, policy: PolicyLink, sessions: Runtime) {
    sessions.shutdown_timeout(Duration::from_secs(1));
    // While the way to the control plane is open: it is told what nobody spent.
    if let Err(fault) = gateway.budgets.close() {
        tracing::error!(%fault, "upload budgets not written; their leases count as spent");
    }
    drop(policy);
    gateway.recorder.record(Event::new(EventType::Stopping));
    if gateway.recorder.flush(FLUSH).is_err() {
        tracing::error!("the last events did not reach their file");
    }
}

async fn sweep_on(gateway: Arc<Gateway>) {
    let mut sweep = Sweep::default();
    let mut ticks = tokio::time::interval(sweep::EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        sweep.run(&gateway);
    }
}

async fn refresh_on(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(REFRESH);
    loop {
        ticks.tick().await;
        if let Err(error) = gateway.screen.load().refresh() {
            tracing::error!(%error, "the addresses of this machine cannot be read; the last known stay in force");
        }
    }
}

fn session_runtime(gateway: &Gateway) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    match gateway.settings.load().gateway.workers as usize {
        0 => {}
        workers => {
            builder.worker_threads(workers);
        }
    }
    Ok(builder.enable_all().thread_name("sessions").build()?)
}

fn announce_in_file(gateway: &Gateway, addresses: &Addresses) -> anyhow::Result<()> {
    let path = gateway.settings.load().gateway.state_dir.join("addresses.json");
    let text = serde_json::to_string_pretty(addresses)?;
    replace(&path, text.as_bytes(), Readers::Everybody, Reach::Disk)
        .with_context(|| format!("{}", path.display()))
}

/// The sockets, bound before anything else: a port that is taken is the first thing to be said.
struct Listeners {
    device: Vec<TcpListener>,
    admin: TcpListener,
    pac: Option<TcpListener>,
}

impl Listeners {
    fn bind(settings: &GatewaySettings) -> anyhow::Result<Self> {
        let listen = &settings.listen;
        let device =
            listen.device.iter().map(|address| bind("listen.device", *address)).collect::<Result<_, _>>()?;
        let admin = bind("listen.admin", listen.admin)?;
        let pac = listen.pac.map(|address| bind("listen.pac", address)).transpose()?;
        Ok(Self { device, admin, pac })
    }

    fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            pid: std::process::id(),
            device: self.device.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?,
            admin: self.admin.local_addr()?,
            pac: self.pac.as_ref().map(TcpListener::local_addr).transpose()?,
        })
    }
}

impl Addresses {
    fn all(&self) -> Vec<SocketAddr> {
        self.device.iter().copied().chain([self.admin]).chain(self.pac).collect()
    }
}
