//! The demo's control plane: the real one, on a thread of its own, and when its word has reached the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use config::ControlSettings;
use proxy::{Epoch, Until};
use serde_json::Value;
use tokio::sync::oneshot;

use super::files::MANIFEST;
use crate::cli::Failure;
use crate::cli::running::Running;

/// How long it may take until the gateway knows the manifest.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A running control plane. It outlives the gateway, which has things to give back.
pub(super) struct Control {
    thread: JoinHandle<anyhow::Result<()>>,
    end: oneshot::Sender<()>,
}

impl Control {
    /// Starts it, and returns once it listens.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub(super) fn start(settings: ControlSettings, path: PathBuf) -> Result<Self, Failure> {
        let (listening, listens) = mpsc::sync_channel(1);
        let (end, told) = oneshot::channel();
        let run = move || {
            proxy::run_control_until(settings, &path, Epoch::Kept, Until::Told(told), |_| {
                // Nobody waits any more only when the demo is over.
                let _over = listening.send(());
            })
        };
        let thread = thread::Builder::new().name("control plane".into()).spawn(run).map_err(Failure::new)?;
        let control = Self { thread, end };
        match listens.recv() {
            Ok(()) => Ok(control),
            // It has ended instead.
            Err(_) => Err(control.end().err().unwrap_or_else(|| Failure::new("the control plane has ended"))),
        }
    }

    /// Tells it to end, and waits until it has.
    ///
    /// # Errors
    /// What it ended with.
    pub(super) fn end(self) -> Result<(), Failure> {
        // It may have ended by itself.
        let _gone = self.end.send(());
        match self.thread.join() {
            Ok(ended) => ended.map_err(Failure::from),
            Err(_) => Err(Failure::new("the control plane has broken down")),
        }
    }
}

/// Waits until the gateway with this admin listener enforces the demo's manifest; false when that takes too long.
pub(super) fn reached(admin: SocketAddr) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let gateway = Running::new(admin);
        let policy = gateway.ask::<Value>("/policy");
        // It may know the manifest, and not yet how old that is.
        if policy.is_ok_and(|policy| policy.to_string().contains(MANIFEST)) && gateway.is_ready() {
            return true;
        }
        thread::sleep(POLL);
    }
    false
}
