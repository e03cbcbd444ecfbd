//! NATS JetStream as the transport: the log is a stream, and control planes keep nothing of their own.
//!
//! Any number of control planes write into one log. What keeps it one is the server's comparison of the last sequence
//! before it takes a record; the server is therefore checked, when a control plane starts, for what that promise needs:
//! [`check`]. A gateway's word on a bus that others share is worth its signature, and counts once: [`word`].
//!
//! In reading order: [`names`] what everything is called; [`bus`] one connection; [`durable`] a write whose outcome is
//! known; [`bucket`] values under keys; [`records`] the log; [`snapshots`] what it comes to; [`fetch`] reading
//! without the leader; [`attend`] the side of a control plane that gateways talk to; [`link`] the gateway's end. Nothing that arrives here is believed: whoever acts
//! on it verifies it.

mod attend;
mod bucket;
mod bus;
mod check;
mod durable;
mod fetch;
mod link;
mod names;
mod records;
mod snapshots;
mod word;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::keys::KeyRing;
use crate::log::Sealed;
use crate::transport::{AppendFault, CellVersion, Frame, Transport, TransportFault};

use bucket::Bucket;
use bus::Bus;
use names::Names;
use records::Records;
use snapshots::Snapshots;

pub use attend::{Attendance, BusMetrics};
pub use check::Durability;
pub use link::{NatsLink, NatsLinkOptions};

/// How many frames wait for the connection before further ones are dropped; gateways then find the gap themselves.
const WAITING_FRAMES: usize = 1024;
/// How often the end of the log is looked at, should the announcement of a record have been lost.
const LOOK: Duration = Duration::from_secs(1);

/// Gives the keys that count now.
pub type Keys = Arc<dyn Fn() -> Arc<KeyRing> + Send + Sync>;

/// Where the servers are, and how they are spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// URLs, `tls://host:4222` or `nats://host:4222`; one that answers is enough.
    pub servers: Vec<String>,
    /// The PEM file of the roots that the servers' certificates must lead to; the system's without it.
    pub ca: Option<PathBuf>,
    /// The PEM files of a client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// The first token of every subject, stream and bucket: 1 to 32 letters, digits, `_` and `-`.
    pub prefix: String,
    /// The plain-HTTP monitoring addresses of the servers, `http://host:8222`; asked whether they sync every write.
    pub monitoring: Vec<String>,
}

impl From<&config::settings::NatsSettings> for NatsOptions {
    fn from(settings: &config::settings::NatsSettings) -> Self {
        Self {
            servers: settings.servers.urls().collect(),
            ca: settings.tls.ca.clone(),
            identity: settings.tls.identity.clone(),
            credentials: settings.credentials.clone(),
            prefix: settings.prefix.clone(),
            monitoring: settings.monitoring.iter().map(|address| format!("http://{address}")).collect(),
        }
    }
}

/// Why the servers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsFault {
    /// The options themselves.
    #[error("{0}")]
    Options(String),
    /// No connection.
    #[error("no connection to NATS: {0}")]
    Unreachable(String),
    /// A server that must not keep the log.
    #[error("the NATS server is not fit to keep the log: {0}")]
    Unfit(String),
}

/// The control plane's end.
pub struct NatsTransport {
    bus: Bus,
    names: Names,
    records: Records,
    snapshots: Snapshots,
    cells: Bucket,
    frames: mpsc::Sender<Frame>,
    stirred: watch::Receiver<()>,
    durability: Durability,
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsTransport").field("names", &self.names).finish_non_exhaustive()
    }
}

impl NatsTransport {
    /// Connects, checks the server, and makes the streams that are missing.
    ///
    /// # Errors
    /// [`NatsFault`] when there is no connection, or the server, or a stream that exists already, is not fit to keep the log.
    pub async fn open(options: &NatsOptions) -> Result<Arc<Self>, NatsFault> {
        let names = Names::new(&options.prefix)?;
        let bus = Bus::connect(options, &names.inbox("control")).await?;
        let durability = check::server(bus.client(), &options.monitoring).await?;
        let mut jetstream = jetstream::new(bus.client().clone());
        jetstream.set_timeout(durable::TRY);
        let records = Records::open(&jetstream, &names).await?;
        let snapshots = Snapshots::open(&jetstream, &names).await?;
        let cells = Bucket::open(&jetstream, &names.bucket("cells")).await?;
        let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
        let (stir, stirred) = watch::channel(());
        let mut tasks = JoinSet::new();
        tasks.spawn(send_frames(bus.client().clone(), names.clone(), waiting));
        tasks.spawn(hear_records(bus.client().clone(), names.clone(), stir));
        let transport = Self {
            bus,
            names,
            records,
            snapshots,
            cells,
            frames,
            stirred,
            durability,
            tasks: Mutex::new(tasks),
        };
        Ok(Arc::new(transport))
    }

    /// Whether the servers were seen to sync every write before they answer for it.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// Begins to hear what gateways report and ask for; a desk answers.
    ///
    /// # Errors
    /// [`NatsFault::Unreachable`] when nothing can be subscribed to.
    pub async fn attend(&self, attendance: Attendance) -> Result<(), NatsFault> {
        let tasks = attend::begin(self.bus.client(), &self.names, attendance).await?;
        let mut own = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks {
            own.spawn(task);
        }
        Ok(())
    }

    async fn grown_beyond(&self, after: u64) {
        let mut stirred = self.stirred.clone();
        let mut alive = true;
        loop {
            stirred.mark_unchanged();
            if let Ok(era) = self.snapshots.era().await
                && let Ok(last) = self.records.last().await
                && last > era.place(after)
            {
                return;
            }
            tokio::select! {
                heard = stirred.changed(), if alive => alive = heard.is_ok(),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// Sends what is broadcast, in order, for as long as the transport lives.
async fn send_frames(client: async_nats::Client, names: Names, mut waiting: mpsc::Receiver<Frame>) {
    while let Some(frame) = waiting.recv().await {
        let (subject, envelope) = names.live(frame);
        if let Err(fault) = client.publish(subject, envelope).await {
            tracing::warn!(%fault, "a frame could not be sent to NATS");
        }
    }
}

/// Notices the records that other control planes announce.
async fn hear_records(client: async_nats::Client, names: Names, stir: watch::Sender<()>) {
    while !stir.is_closed() {
        match client.subscribe(names.live_records()).await {
            Ok(mut announced) => {
                while announced.next().await.is_some() {
                    stir.send_replace(());
                }
            }
            Err(fault) => tracing::warn!(%fault, "the live records cannot be listened to"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Transport for NatsTransport {
    fn read(&self, after: u64, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        Box::pin(async move {
            let era = self.snapshots.era().await?;
            self.records.read(self.bus.client(), &era, after, most).await
        })
    }

    fn append<'a>(&'a self, record: &'a Sealed) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(async move {
            let era = self.snapshots.era_for(record.position.epoch).await?.ok_or(AppendFault::Taken)?;
            self.records.append(&era, record).await
        })
    }

    fn grown(&self, after: u64) -> BoxFuture<'_, ()> {
        Box::pin(self.grown_beyond(after))
    }

    fn end(&self, _known: u64) -> BoxFuture<'_, Result<u64, TransportFault>> {
        Box::pin(async move {
            let era = self.snapshots.era().await?;
            Ok(era.sequence(self.records.last().await?))
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        Box::pin(async move { self.snapshots.head().await })
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        Box::pin(self.snapshots.chunk(digest))
    }

    fn keep_chunk<'a>(
        &'a self,
        digest: &'a [u8; 32],
        chunk: Bytes,
    ) -> BoxFuture<'a, Result<(), TransportFault>> {
        Box::pin(self.snapshots.keep_chunk(digest, chunk))
    }

    fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> BoxFuture<'_, Result<(), TransportFault>> {
        Box::pin(self.snapshots.keep(&self.records, head, keep_after))
    }

    fn cell<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<(CellVersion, Bytes)>, TransportFault>> {
        Box::pin(async move { Ok(self.cells.value(key).await?.map(|kept| (kept.revision, kept.value))) })
    }

    fn cells<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, TransportFault>> {
        Box::pin(self.cells.keys(prefix))
    }

    fn set_cell<'a>(
        &'a self,
        key: &'a str,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(async move {
            if value.is_empty() {
                self.cells.remove(key, expected).await
            } else {
                self.cells.set(key, expected, value, async_nats::HeaderMap::new()).await.map(drop)
            }
        })
    }

    fn broadcast(&self, frame: Frame) {
        if self.frames.try_send(frame).is_err() {
            tracing::warn!("a frame was dropped: NATS does not take them fast enough");
        }
    }
}
