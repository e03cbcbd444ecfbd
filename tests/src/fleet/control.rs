//! The process of a control plane.

use std::fs::File;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::device;
use crate::gateway::{binary, said};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::wait::eventually;
use crate::wire::Wire;

/// Where a control plane listens, as it says itself.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The API.
    pub api: SocketAddr,
    /// Where gateways connect, when they do.
    pub gateways: Option<SocketAddr>,
    /// Where agents connect, when they do.
    pub agents: Option<SocketAddr>,
    /// The operator's listener.
    pub ops: SocketAddr,
}

/// A running control plane. Dropped, it is killed.
#[derive(Debug)]
pub struct ControlPlane {
    process: Process,
    /// Where it listens.
    pub addresses: Addresses,
}

/// A control plane is its process, and more.
impl Deref for ControlPlane {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for ControlPlane {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl ControlPlane {
    /// Starts `portcullis control` over the settings in `dir` and waits until it is ready, for `limit` at most.
    ///
    /// # Errors
    /// How it ended, when it ends instead.
    ///
    /// # Panics
    /// When it does neither in time.
    pub async fn start(dir: &Path, limit: Duration) -> Result<Self, ExitStatus> {
        let log = File::options().create(true).append(true).open(dir.join("control.log"));
        let log = log.expect("a log file");
        let told = dir.join("state/addresses.json");
        let _ = std::fs::remove_file(&told);
        let child = Command::new(binary())
            .args(["control", "--config", "control.toml"])
            .current_dir(dir)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the control plane's program starts");
        let mut process = Process(child);
        let id = process.id();
        let outcome = eventually(limit, "the control plane is ready", async || {
            if let Some(status) = process.exited() {
                return Some(Err(status));
            }
            let addresses = addresses(&said(&told, id)?)?;
            (ops(addresses.ops, "/readyz").await.ok()?.status == 200).then_some(Ok(addresses))
        });
        let outcome = outcome.await;
        outcome.map(|addresses| Self { process, addresses })
    }

    /// A scrape of `/metrics`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> Metrics {
        let answer = ops(self.addresses.ops, "/metrics").await.expect("the control plane answers");
        Metrics(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// A GET at the operator's listener.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ops(&self, path: &str) -> std::io::Result<crate::answer::Answer> {
        ops(self.addresses.ops, path).await
    }
}

async fn ops(address: SocketAddr, path: &str) -> std::io::Result<crate::answer::Answer> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    Wire::new(device::dial(address).await?).ask(head).await
}

fn addresses(said: &Value) -> Option<Addresses> {
    let address = |key: &str| said[key].as_str().map(|text| text.parse().expect("an address"));
    Some(Addresses {
        api: address("api")?,
        gateways: address("gateways"),
        agents: address("agents"),
        ops: address("ops")?,
    })
}
