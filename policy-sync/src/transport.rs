//! How the word of a control plane travels: one trait for each end, and what is said over it.
//!
//! [`Transport`] is the end of the control plane: where the log is kept, and where live frames go out. [`Link`] is the end of
//! a gateway. Every transport implements both. A transport is trusted with nothing but delivery: whatever is decided
//! travels signed, and is verified by whoever acts on it. What a transport does answer for is who a gateway is.

pub mod embedded;
pub mod memory;
pub mod nats;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::log::{Position, Sealed};
use crate::revocations::StatementId;

pub use crate::lease::{LeaseAnswer, LeaseRequest};

/// What a control plane says to every gateway that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The envelope of a revocation that is being written down at this moment: to be enforced at once. Its record follows.
    Hint(Bytes),
    /// The envelope of a record that is written down.
    Record(Bytes),
    /// The envelope of a heartbeat.
    Heartbeat(Bytes),
}

/// What a gateway says about itself: when it connects, whenever it has enforced something, and every second.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The version of its program.
    pub version: String,
    /// The revision of its policy that is enforced and kept on its disk.
    pub revision: u64,
    /// The epoch of the log that it follows; 0 before the first.
    pub epoch: u64,
    /// How far it has followed it, enforced and kept on its disk.
    pub sequence: u64,
    /// How many sessions are live.
    pub sessions: u64,
    /// How old its policy is, in milliseconds; absent when it has never been fresh.
    pub age_ms: Option<u64>,
    /// Revocations enforced, and kept on its disk, since its last report.
    #[serde(default)]
    pub enforced: Vec<Enforced>,
}

/// The receipt for one revocation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforced {
    /// The name of the revocation, `rv-…`.
    #[serde(with = "statement_id")]
    pub revocation: StatementId,
    /// How many sessions it cut.
    pub sessions_cut: u64,
    /// How many bytes those had sent to their destinations.
    pub upload_bytes: u64,
    /// From its arrival at the gateway until no touched session could write any more, in microseconds.
    pub latency_us: u64,
}

mod statement_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::revocations::StatementId;

    pub(super) fn serialize<S: Serializer>(id: &StatementId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatementId, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Why a record was not written down.
#[derive(Debug, thiserror::Error)]
pub enum AppendFault {
    /// Another control plane was first; read on and try again behind it.
    #[error("another record has taken this place in the log")]
    Taken,
    /// The transport failed; the record may or may not be written down.
    #[error(transparent)]
    Transport(#[from] TransportFault),
}

/// Why a transport could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportFault(pub String);

/// The version of a cell, for compare-and-set. Only equality means anything.
pub type CellVersion = u64;

/// The control plane's end of a transport: the log, cells beside it, and the live frames.
///
/// Everything that is reported as written survives a crash of the process and of the machine.
pub trait Transport: Send + Sync + 'static {
    /// Up to `most` records after the sequence `after`, in order. Empty at the end, and where the log begins later: then
    /// [`Transport::snapshot`] has what came before.
    fn read(&self, after: u64, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>>;

    /// Writes down a record, if the log still ends right before it.
    fn append<'a>(&'a self, record: &'a Sealed) -> BoxFuture<'a, Result<(), AppendFault>>;

    /// Writes down records that follow each other, as [`Transport::append`] would one by one. When it fails, the first few
    /// of them may be written down.
    fn append_all<'a>(&'a self, records: &'a [Sealed]) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(async move {
            for record in records {
                self.append(record).await?;
            }
            Ok(())
        })
    }

    /// Returns when the log may have grown beyond the sequence `after` through another control plane. May return early.
    fn grown(&self, after: u64) -> BoxFuture<'_, ()>;

    /// The last sequence of the log, by the word of whoever decides that, given now; an error when nobody can say. `known` is
    /// the last one that is known, and is the answer where nobody else writes.
    fn end(&self, known: u64) -> BoxFuture<'_, Result<u64, TransportFault>> {
        Box::pin(std::future::ready(Ok(known)))
    }

    /// The head of the latest snapshot that was kept.
    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>>;

    /// A chunk of the latest snapshot.
    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>>;

    /// Keeps a chunk of a snapshot whose head comes later.
    fn keep_chunk<'a>(
        &'a self,
        digest: &'a [u8; 32],
        chunk: Bytes,
    ) -> BoxFuture<'a, Result<(), TransportFault>>;

    /// Keeps the head of a snapshot whose chunks are kept, in place of an older one; may then drop records up to `keep_after`
    /// and chunks that no head names.
    fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> BoxFuture<'_, Result<(), TransportFault>>;

    /// The value of a cell. Keys are `[a-z]+/[A-Za-z0-9_-]+`.
    fn cell<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<(CellVersion, Bytes)>, TransportFault>>;

    /// The keys of all cells that begin with this.
    fn cells<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, TransportFault>>;

    /// Writes a cell, if its version is still `expected` (`None`: if there is none). An empty value removes it.
    fn set_cell<'a>(
        &'a self,
        key: &'a str,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), AppendFault>>;

    /// Sends a frame to every gateway that listens. Never waits; a gateway that cannot keep up is disconnected and comes back.
    fn broadcast(&self, frame: Frame);
}

/// What the gateways' side of a control plane answers to a transport.
pub trait Desk: Send + Sync + 'static {
    /// A gateway, whose name the transport vouches for, has reported. `connection` is another number for every connection.
    fn reported(&self, gateway: &str, connection: u64, report: Report);

    /// A connection of a gateway is gone.
    fn left(&self, gateway: &str, connection: u64);

    /// A gateway asks for a part of a budget.
    fn lease<'a>(
        &'a self,
        gateway: &'a str,
        request: LeaseRequest,
    ) -> BoxFuture<'a, Result<LeaseAnswer, TransportFault>>;
}

/// A gateway's end of a transport.
pub trait Link: Send + Sync + 'static {
    /// Connects, says `hello`, and hands every frame to `each` as it comes, from then on. Returns when the connection is
    /// lost or could not be had. Frames that were sent before it connected are not repeated: whoever follows asks with
    /// [`Link::records`] for what it misses.
    fn follow<'a>(&'a self, hello: Report, each: FrameSink<'a>) -> BoxFuture<'a, TransportFault>;

    /// Sends a report if there is a connection; reports are repeated often enough for one to be lost.
    fn report(&self, report: Report);

    /// As [`Transport::read`].
    fn records(&self, after: &Position, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>>;

    /// As [`Transport::snapshot`].
    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>>;

    /// As [`Transport::chunk`].
    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>>;

    /// As [`Desk::lease`].
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>>;
}

/// Takes frames as they come. Called on the task that follows; must not block for long.
pub type FrameSink<'a> = Box<dyn FnMut(Frame) + Send + 'a>;
