//! The life of the process of a control plane: bind, build, announce, serve, reload, end.
//!
//! The plane, its API and the connections of gateways share a runtime. Signals, health and metrics have a thread of their
//! own: a scrape never waits behind a flood of requests, nor a revocation behind a scrape.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use audit::{Event, EventType};
use config::files::{Reach, Readers, replace};
use config::settings::ControlSettings;
use policy_sync::control::ops;
use policy_sync::control::serve::{Bounds, serve_https};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::assemble::Control;
use super::reload::reload;
use super::store::Opened;
use crate::listening::bind;
use crate::notify::notify;

/// How long the last events may take to reach their file.
const FLUSH: Duration = Duration::from_secs(5);
/// What bounds the listener for agents: their streams last, and there are many.
const STREAMS: Bounds = Bounds {
    connections: 16_384,
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(15),
    connection: Duration::from_secs(3600),
    drain: Duration::from_secs(1),
};
/// How long the listeners may take to end: longer than the API lets its last requests take.
const ENDING: Duration = Duration::from_secs(8);

/// Where a running control plane listens; also the content of `addresses.json` in its state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAddresses {
    /// The process.
    pub pid: u32,
    /// The API.
    pub api: SocketAddr,
    /// Where gateways connect, if they do.
    pub gateways: Option<SocketAddr>,
    /// Where agents connect, if they do.
    pub agents: Option<SocketAddr>,
    /// Health and metrics.
    pub ops: SocketAddr,
}

/// Which epoch the log is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    /// The one it has.
    Kept,
    /// A new one: after it was restored from a backup, so that gateways that had seen more follow it all the same.
    New,
}

/// When a control plane ends.
#[derive(Debug)]
pub enum Until {
    /// With SIGTERM or SIGINT; SIGHUP reloads.
    Signalled,
    /// When this is told, or its sender is gone. Signals are somebody else's.
    Told(oneshot::Receiver<()>),
}

/// Runs a control plane until it is told to end: SIGTERM or SIGINT end it, SIGHUP reloads the settings at `path`.
///
/// # Errors
/// When it cannot start: what is wrong, naming the setting, the file or the address.
pub fn run_control(settings: ControlSettings, path: &Path, epoch: Epoch) -> anyhow::Result<()> {
    run_control_until(settings, path, epoch, Until::Signalled, |_| {})
}

/// As [`run_control`], with another end; tells `announce` where it listens as soon as it does.
///
/// # Errors
/// As [`run_control`].
pub fn run_control_until(
    settings: ControlSettings,
    path: &Path,
    epoch: Epoch,
    until: Until,
    announce: impl FnOnce(&ControlAddresses),
) -> anyhow::Result<()> {
    let state = settings.control.state_dir.clone();
    std::fs::create_dir_all(&state).with_context(|| format!("control.state_dir {}", state.display()))?;
    let listeners = Listeners::bind(&settings)?;
    let addresses = listeners.addresses()?;
    let work = Builder::new_multi_thread().enable_all().thread_name("plane").build()?;
    let control = Arc::new(work.block_on(Control::assemble(settings, path, epoch))?);
    let router = control.api()?;
    let end = watch::Sender::new(false);
    let Listeners { api, gateways, agents, ops } = listeners;
    let mut serving = Vec::new();
    let (tls, over) = (Arc::clone(&control.api_tls), ended(&end));
    serving.push(work.spawn(async move { serve_https(api, tls, router, Bounds::default(), over).await }));
    if let Some(listener) = gateways {
        serving.push(work.spawn(serve_gateways(Arc::clone(&control), listener, ended(&end))));
    }
    if let (Some(listener), Some(door)) = (agents, &control.door) {
        let (tls, router, over) = (Arc::clone(&door.tls), door.agents.routes(), ended(&end));
        serving.push(work.spawn(async move { serve_https(listener, tls, router, STREAMS, over).await }));
    }
    let text = serde_json::to_string_pretty(&addresses)?;
    let told = state.join("addresses.json");
    replace(&told, text.as_bytes(), Readers::Everybody, Reach::Disk)
        .with_context(|| format!("{}", told.display()))?;
    tracing::info!(api = %addresses.api, gateways = ?addresses.gateways, ops = %addresses.ops, "listening");
    control.recorder.record(Event::new(EventType::Started));
    announce(&addresses);
    let governing = Builder::new_current_thread().enable_all().thread_name("control").build()?;
    governing.block_on(govern(&control, ops, until))?;
    end.send_replace(true);
    work.block_on(all_ended(serving));
    control.recorder.record(Event::new(EventType::Stopping));
    if control.recorder.flush(FLUSH).is_err() {
        tracing::error!("the last events did not reach their file");
    }
    work.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Signals, health and metrics, until the process is told to end.
async fn govern(control: &Arc<Control>, listener: TcpListener, until: Until) -> anyhow::Result<()> {
    let names = control.settings.load().listen.ops_names.clone();
    let (plane, registry) = (Arc::clone(&control.plane), control.registry.clone());
    tokio::spawn(async move {
        // Answers to the very end: an operator watches it.
        if let Err(fault) = ops::serve(listener, &names, plane, registry, std::future::pending()).await {
            tracing::error!(%fault, "health and metrics are not served");
        }
    });
    match until {
        Until::Signalled => signalled(control).await?,
        // A sender that is gone means the same.
        Until::Told(told) => drop(told.await),
    }
    tracing::info!("ending");
    Ok(())
}

/// Reloads on SIGHUP, until SIGTERM or SIGINT.
async fn signalled(control: &Control) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        tokio::select! {
            Some(()) = hangups.recv() => {
                notify(&[sd_notify::NotifyState::Reloading]);
                reload(control);
                notify(&[sd_notify::NotifyState::Ready]);
            }
            Some(()) = terminations.recv() => break,
            Some(()) = interrupts.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}

async fn serve_gateways(
    control: Arc<Control>,
    listener: TcpListener,
    until: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    // The settings have a listener for gateways exactly where the log is our own.
    let (Opened::Embedded(embedded), Some(entrance)) = (&control.opened, &control.entrance) else {
        return Ok(());
    };
    entrance.serve(Arc::clone(embedded), listener, Arc::clone(&control.plane), until).await
}

/// Done once the process is to end.
fn ended(end: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut end = end.subscribe();
    async move {
        // A sender that is gone means the same.
        let _told = end.wait_for(|end| *end).await;
    }
}

async fn all_ended(serving: Vec<JoinHandle<io::Result<()>>>) {
    let all = async {
        for task in serving {
            if let Ok(Err(fault)) = task.await {
                tracing::error!(%fault, "a listener was not served");
            }
        }
    };
    if tokio::time::timeout(ENDING, all).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

/// The sockets, bound before anything else: a port that is taken is the first thing to be said.
struct Listeners {
    api: TcpListener,
    gateways: Option<TcpListener>,
    agents: Option<TcpListener>,
    ops: TcpListener,
}

impl Listeners {
    fn bind(settings: &ControlSettings) -> anyhow::Result<Self> {
        let listen = &settings.listen;
        Ok(Self {
            api: bind("listen.api", listen.api)?,
            gateways: listen.gateways.map(|address| bind("listen.gateways", address)).transpose()?,
            agents: listen.agents.map(|address| bind("listen.agents", address)).transpose()?,
            ops: bind("listen.ops", listen.ops)?,
        })
    }

    fn addresses(&self) -> io::Result<ControlAddresses> {
        Ok(ControlAddresses {
            pid: std::process::id(),
            api: self.api.local_addr()?,
            gateways: self.gateways.as_ref().map(TcpListener::local_addr).transpose()?,
            agents: self.agents.as_ref().map(TcpListener::local_addr).transpose()?,
            ops: self.ops.local_addr()?,
        })
    }
}
