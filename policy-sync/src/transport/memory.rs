//! A log in memory, gone with its process: for tests, and for trying things out.
//!
//! Several control planes may share one log, as replicas do, and gateways attach to it in the same process. It keeps every
//! promise of [`Transport`] but durability, and can be told to fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::{
    AppendFault, CellVersion, Desk, Frame, FrameSink, LeaseAnswer, LeaseRequest, Link, Report, Transport,
    TransportFault,
};
use crate::log::{Position, Record, Sealed, SnapshotHead};

/// How many frames a gateway may be behind.
const QUEUE: usize = 1024;

/// A log in memory, and everybody who is attached to it. Clones are the same log.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    end: watch::Sender<u64>,
    listeners: Mutex<HashMap<u64, mpsc::Sender<Frame>>>,
    desk: OnceLock<Arc<dyn Desk>>,
    next: AtomicU64,
}

#[derive(Default)]
struct Log {
    records: BTreeMap<u64, Bytes>,
    end: u64,
    head: Option<Bytes>,
    chunks: HashMap<[u8; 32], Bytes>,
    cells: BTreeMap<String, (CellVersion, Bytes)>,
    versions: u64,
    failing: Option<String>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        let shared = Shared {
            log: Mutex::default(),
            end: watch::Sender::new(0),
            listeners: Mutex::default(),
            desk: OnceLock::new(),
            next: AtomicU64::new(1),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl MemoryLog {
    /// Has this desk answer the gateways. Only the first one does.
    pub fn serve(&self, desk: Arc<dyn Desk>) {
        // A second desk is a mistake of a test, and the first one goes on.
        drop(self.shared.desk.set(desk));
    }

    /// Has every write fail from now on with these words, or work again.
    pub fn fail(&self, words: Option<&str>) {
        self.log().failing = words.map(str::to_owned);
    }

    /// A gateway's end, under this name.
    #[must_use]
    pub fn link(&self, gateway: &str) -> Arc<MemoryLink> {
        Arc::new(MemoryLink { log: self.clone(), gateway: gateway.to_owned(), connection: Mutex::new(None) })
    }

    /// Disconnects every gateway.
    pub fn disconnect(&self) {
        self.listeners().clear();
    }

    /// A copy of the log as it is now, to which nobody is attached: a backup.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        {
            let (from, mut to) = (self.log(), copy.log());
            (to.records, to.end, to.head) = (from.records.clone(), from.end, from.head.clone());
            (to.chunks, to.cells, to.versions) = (from.chunks.clone(), from.cells.clone(), from.versions);
        }
        copy
    }

    /// Drops every record that the snapshot stands for, as pruning would at some time.
    pub fn forget_records(&self) {
        let mut log = self.log();
        let head = log.head.as_ref().and_then(|head| SnapshotHead::read_own(head).ok());
        if let Some(head) = head {
            log.records = log.records.split_off(&head.position.sequence.saturating_add(1));
        }
    }

    /// Puts a record where nobody would, to see who falls for it.
    pub fn put_record(&self, sequence: u64, record: Bytes) {
        let mut log = self.log();
        log.records.insert(sequence, record);
        log.end = log.end.max(sequence);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Frame>>> {
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn writable(&self) -> Result<(), TransportFault> {
        self.failing.clone().map_or(Ok(()), |words| Err(TransportFault(words)))
    }
}

/// A future that is ready: nothing in memory has to be waited for.
fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Transport for MemoryLog {
    fn read(&self, after: u64, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        let log = self.log();
        let next = after.saturating_add(1);
        let begins = log.records.contains_key(&next);
        let page = log.records.range(next..).take(if begins { most } else { 0 });
        now(Ok(page.map(|(_, record)| record.clone()).collect()))
    }

    fn append<'a>(&'a self, record: &'a Sealed) -> BoxFuture<'a, Result<(), AppendFault>> {
        let mut log = self.log();
        if let Err(fault) = log.writable() {
            return now(Err(fault.into()));
        }
        if record.position.sequence != log.end + 1 {
            return now(Err(AppendFault::Taken));
        }
        log.end += 1;
        log.records.insert(record.position.sequence, record.envelope.clone());
        self.shared.end.send_replace(log.end);
        now(Ok(()))
    }

    fn grown(&self, after: u64) -> BoxFuture<'_, ()> {
        let mut end = self.shared.end.subscribe();
        Box::pin(async move {
            // The sender lives as long as the log.
            drop(end.wait_for(|end| *end > after).await);
        })
    }

    fn end(&self, _known: u64) -> BoxFuture<'_, Result<u64, TransportFault>> {
        let log = self.log();
        now(log.writable().map(|()| log.end))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        now(Ok(self.log().head.clone()))
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        now(Ok(self.log().chunks.get(digest).cloned()))
    }

    fn keep_chunk<'a>(
        &'a self,
        digest: &'a [u8; 32],
        chunk: Bytes,
    ) -> BoxFuture<'a, Result<(), TransportFault>> {
        let mut log = self.log();
        let kept = log.writable().map(|()| drop(log.chunks.insert(*digest, chunk)));
        now(kept)
    }

    fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> BoxFuture<'_, Result<(), TransportFault>> {
        let mut log = self.log();
        let kept = log.writable().and_then(|()| {
            let named = SnapshotHead::read_own(&head).map_err(|fault| TransportFault(fault.to_string()))?;
            log.records = log.records.split_off(&keep_after.saturating_add(1));
            log.end = log.end.max(named.position.sequence);
            log.chunks.retain(|digest, _| named.chunks.contains(digest));
            log.head = Some(head);
            Ok(())
        });
        now(kept)
    }

    fn cell<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<(CellVersion, Bytes)>, TransportFault>> {
        now(Ok(self.log().cells.get(key).cloned()))
    }

    fn cells<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, TransportFault>> {
        let log = self.log();
        let keys = log.cells.keys().filter(|key| key.starts_with(prefix)).cloned();
        now(Ok(keys.collect()))
    }

    fn set_cell<'a>(
        &'a self,
        key: &'a str,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), AppendFault>> {
        let mut log = self.log();
        if let Err(fault) = log.writable() {
            return now(Err(fault.into()));
        }
        if log.cells.get(key).map(|(version, _)| *version) != expected {
            return now(Err(AppendFault::Taken));
        }
        log.versions += 1;
        let version = log.versions;
        if value.is_empty() {
            log.cells.remove(key);
        } else {
            log.cells.insert(key.to_owned(), (version, value));
        }
        now(Ok(()))
    }

    fn broadcast(&self, frame: Frame) {
        self.listeners().retain(|_, listener| listener.try_send(frame.clone()).is_ok());
    }
}

/// A gateway's end of a log in memory.
pub struct MemoryLink {
    log: MemoryLog,
    gateway: String,
    connection: Mutex<Option<u64>>,
}

impl MemoryLink {
    fn connection(&self) -> MutexGuard<'_, Option<u64>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, connection: u64) {
        *self.connection() = None;
        self.log.listeners().remove(&connection);
        if let Some(desk) = self.log.shared.desk.get() {
            desk.left(&self.gateway, connection);
        }
    }
}

/// Says goodbye however following ends.
struct Attached<'a> {
    link: &'a MemoryLink,
    connection: u64,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.link.leave(self.connection);
    }
}

impl Link for MemoryLink {
    fn follow<'a>(&'a self, hello: Report, mut each: FrameSink<'a>) -> BoxFuture<'a, TransportFault> {
        Box::pin(async move {
            let Some(desk) = self.log.shared.desk.get() else {
                return TransportFault("nobody answers".into());
            };
            let connection = self.log.shared.next.fetch_add(1, Ordering::Relaxed);
            let (frames, mut queue) = mpsc::channel(QUEUE);
            self.log.listeners().insert(connection, frames);
            *self.connection() = Some(connection);
            let attached = Attached { link: self, connection };
            desk.reported(&self.gateway, connection, hello);
            while let Some(frame) = queue.recv().await {
                each(frame);
            }
            drop(attached);
            TransportFault("disconnected".into())
        })
    }

    fn report(&self, report: Report) {
        let connection = *self.connection();
        if let (Some(desk), Some(connection)) = (self.log.shared.desk.get(), connection) {
            desk.reported(&self.gateway, connection, report);
        }
    }

    fn records(&self, after: &Position, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        let after = *after;
        Box::pin(async move {
            let mut page = self.log.read(after.sequence, most).await?;
            // Records of another epoch are not behind this position.
            page.retain(|record| {
                Record::read_own(record).is_ok_and(|record| record.position.epoch == after.epoch)
            });
            Ok(page)
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        self.log.snapshot()
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        self.log.chunk(digest)
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        Box::pin(async move {
            match self.log.shared.desk.get() {
                Some(desk) => desk.lease(&self.gateway, request).await,
                None => Err(TransportFault("nobody answers".into())),
            }
        })
    }
}
