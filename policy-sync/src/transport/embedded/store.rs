//! The file of the log: records by sequence, the latest snapshot, and cells, in one redb database.
//!
//! One thread writes. Whatever waits for it when it begins a commit shares that commit, so that many appends pay for one sync. Nothing is
//! answered before the commit that holds it is on the disk. Readers see the last commit and wait for nobody.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    WriteTransaction,
};
use tokio::sync::{mpsc, oneshot};

use crate::log::{Sealed, SnapshotHead};
use crate::transport::{AppendFault, CellVersion, TransportFault};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const CHUNKS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("chunks");
const CELLS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("cells");
const SNAPSHOT: TableDefinition<'_, (), &[u8]> = TableDefinition::new("snapshot");
/// The last sequence of the log, and the last version of a cell.
const COUNTS: TableDefinition<'_, &str, u64> = TableDefinition::new("counts");

const END: &str = "end";
const VERSION: &str = "version";

/// How many writes may wait.
const WAITING: usize = 1024;
/// How many writes share a commit.
const TOGETHER: usize = 256;
/// How much of the file is kept in memory, in bytes.
const CACHE: usize = 128 << 20;
/// How large a page of records becomes, in bytes; one record may be larger.
const PAGE: usize = 4 << 20;
/// How many records and chunks are dropped in one commit.
const RECORDS_AT_ONCE: u64 = 1000;
const CHUNKS_AT_ONCE: usize = 8;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The file cannot be made or opened.
    #[error("cannot use {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it, or it is damaged.
    #[error("cannot use {file}: {why}")]
    Database {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The metrics could not be registered.
    #[error("cannot register the metrics of the embedded log: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// An opened store.
pub(super) struct Store {
    database: Arc<Database>,
    writes: mpsc::Sender<Write>,
}

enum Change {
    Append(Vec<Sealed>),
    Chunk([u8; 32], Bytes),
    Snapshot(Bytes),
    DropRecords { up_to: u64 },
    DropChunks(Vec<[u8; 32]>),
    Cell(String, Option<CellVersion>, Bytes),
}

struct Write {
    change: Change,
    answer: oneshot::Sender<Result<(), AppendFault>>,
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreFault> {
        let path = directory.join("log.redb");
        let file = || path.display().to_string();
        let fault = |source| StoreFault::File { file: file(), source };
        let damaged = |why: String| StoreFault::Database { file: file(), why };
        fs::create_dir_all(directory).map_err(fault)?;
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let database = FileBackend::new(opened.map_err(fault)?)
            .and_then(|backend| Builder::new().set_cache_size(CACHE).create_with_backend(backend));
        let database = database.map_err(|fault| damaged(fault.to_string()))?;
        prepare(&database).map_err(|fault| damaged(fault.to_string()))?;
        let database = Arc::new(database);
        let (writes, waiting) = mpsc::channel(WAITING);
        let writer = Writer { database: database.clone(), waiting };
        let thread = thread::Builder::new().name("log".into()).spawn(move || writer.run());
        thread.map_err(fault)?;
        Ok(Self { database, writes })
    }

    pub(super) async fn append(&self, records: Vec<Sealed>) -> Result<(), AppendFault> {
        self.write(Change::Append(records)).await
    }

    pub(super) async fn keep_chunk(&self, digest: [u8; 32], chunk: Bytes) -> Result<(), TransportFault> {
        self.write(Change::Chunk(digest, chunk)).await.map_err(into_transport)
    }

    /// Keeps the head first, and then drops what it makes superfluous, a little at a time: nobody waits long behind that.
    pub(super) async fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> Result<(), TransportFault> {
        let chunks = |head: &[u8]| SnapshotHead::read_own(head).map(|head| head.chunks).unwrap_or_default();
        let named: HashSet<_> = chunks(&head).into_iter().collect();
        let mut before = self.snapshot().await?.map_or_else(Vec::new, |head| chunks(&head));
        before.retain(|chunk| !named.contains(chunk));
        self.write(Change::Snapshot(head)).await.map_err(into_transport)?;
        for some in before.chunks(CHUNKS_AT_ONCE) {
            self.write(Change::DropChunks(some.to_vec())).await.map_err(into_transport)?;
        }
        while let Some(first) = self.first().await?.filter(|first| *first <= keep_after) {
            let up_to = first.saturating_add(RECORDS_AT_ONCE).min(keep_after);
            self.write(Change::DropRecords { up_to }).await.map_err(into_transport)?;
        }
        Ok(())
    }

    pub(super) async fn set_cell(
        &self,
        key: String,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> Result<(), AppendFault> {
        self.write(Change::Cell(key, expected, value)).await
    }

    async fn write(&self, change: Change) -> Result<(), AppendFault> {
        let gone = || TransportFault("the thread that writes the log has ended".into());
        let (answer, answered) = oneshot::channel();
        self.writes.send(Write { change, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub(super) async fn read(&self, after: u64, most: usize) -> Result<Vec<Bytes>, TransportFault> {
        self.look(move |database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            let (mut page, mut size, mut expected) = (Vec::new(), 0, after.saturating_add(1));
            for record in records.range(expected..)?.take(most) {
                let (sequence, envelope) = record?;
                if sequence.value() != expected || size > PAGE {
                    break;
                }
                expected += 1;
                size += envelope.value().len();
                page.push(Bytes::copy_from_slice(envelope.value()));
            }
            Ok(page)
        })
        .await
    }

    /// The sequence of the first record.
    async fn first(&self) -> Result<Option<u64>, TransportFault> {
        self.look(|database| {
            let records = database.begin_read()?.open_table(RECORDS)?;
            Ok(records.first()?.map(|(sequence, _)| sequence.value()))
        })
        .await
    }

    pub(super) async fn snapshot(&self) -> Result<Option<Bytes>, TransportFault> {
        self.look(|database| {
            let snapshot = database.begin_read()?.open_table(SNAPSHOT)?;
            Ok(snapshot.get(())?.map(|head| Bytes::copy_from_slice(head.value())))
        })
        .await
    }

    pub(super) async fn chunk(&self, digest: [u8; 32]) -> Result<Option<Bytes>, TransportFault> {
        self.look(move |database| {
            let chunks = database.begin_read()?.open_table(CHUNKS)?;
            Ok(chunks.get(&digest)?.map(|chunk| Bytes::copy_from_slice(chunk.value())))
        })
        .await
    }

    pub(super) async fn cell(&self, key: String) -> Result<Option<(CellVersion, Bytes)>, TransportFault> {
        self.look(move |database| {
            let cells = database.begin_read()?.open_table(CELLS)?;
            Ok(cells.get(key.as_str())?.map(|cell| {
                let (version, value) = cell.value();
                (version, Bytes::copy_from_slice(value))
            }))
        })
        .await
    }

    pub(super) async fn cells(&self, prefix: String) -> Result<Vec<String>, TransportFault> {
        self.look(move |database| {
            let cells = database.begin_read()?.open_table(CELLS)?;
            let mut keys = Vec::new();
            for cell in cells.range(prefix.as_str()..)? {
                let (key, _) = cell?;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                keys.push(key.value().to_owned());
            }
            Ok(keys)
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, TransportFault> {
        let database = self.database.clone();
        let looked = tokio::task::spawn_blocking(move || look(&database)).await;
        let looked = looked.map_err(|fault| TransportFault(fault.to_string()))?;
        looked.map_err(|fault| TransportFault(format!("the log cannot be read: {fault}")))
    }
}

/// Makes every table, so that readers find them, and drops chunks of snapshots that were never finished.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(CELLS)?;
    transaction.open_table(COUNTS)?;
    {
        let snapshot = transaction.open_table(SNAPSHOT)?;
        let mut chunks = transaction.open_table(CHUNKS)?;
        let head = snapshot.get(())?.map(|head| SnapshotHead::read_own(head.value()));
        // Beside a head that cannot be read everything stays, for whoever looks into it.
        if let Some(named) = head.map_or(Some(Vec::new()), |head| head.ok().map(|head| head.chunks)) {
            let named: HashSet<_> = named.into_iter().collect();
            chunks.retain(|digest, _| named.contains(digest))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Only cells and records can be taken by others.
fn into_transport(fault: AppendFault) -> TransportFault {
    match fault {
        AppendFault::Taken => TransportFault("it was changed meanwhile".into()),
        AppendFault::Transport(fault) => fault,
    }
}

struct Writer {
    database: Arc<Database>,
    waiting: mpsc::Receiver<Write>,
}

type Answer = oneshot::Sender<Result<(), AppendFault>>;

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(TOGETHER);
        while self.waiting.blocking_recv_many(&mut batch, TOGETHER) > 0 {
            let mut answers: Vec<(Answer, bool)> = Vec::with_capacity(batch.len());
            let committed = self.commit(batch.drain(..), &mut answers);
            for (answer, taken) in answers {
                let outcome = match &committed {
                    Ok(()) if taken => Err(AppendFault::Taken),
                    Ok(()) => Ok(()),
                    Err(fault) => Err(TransportFault(format!("the log cannot be written: {fault}")).into()),
                };
                // Whoever asked may have gone away.
                drop(answer.send(outcome));
            }
        }
    }

    fn commit(
        &self,
        batch: impl Iterator<Item = Write>,
        answers: &mut Vec<(Answer, bool)>,
    ) -> Result<(), redb::Error> {
        // Whoever waits is answered, whatever fails first.
        let mut changes = Vec::new();
        for Write { change, answer } in batch {
            changes.push(change);
            answers.push((answer, false));
        }
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        for (change, (_, taken)) in changes.into_iter().zip(answers) {
            *taken = !apply(&transaction, change)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Makes a change within a transaction; false when somebody else was first.
fn apply(transaction: &WriteTransaction, change: Change) -> Result<bool, redb::Error> {
    let mut counts = transaction.open_table(COUNTS)?;
    match change {
        Change::Append(sealed) => {
            let mut end = counts.get(END)?.map_or(0, |end| end.value());
            if sealed.first().is_none_or(|first| first.position.sequence != end + 1) {
                return Ok(false);
            }
            let mut records = transaction.open_table(RECORDS)?;
            for record in sealed {
                end = record.position.sequence;
                records.insert(end, record.envelope.as_ref())?;
            }
            counts.insert(END, end)?;
        }
        Change::Chunk(digest, chunk) => {
            transaction.open_table(CHUNKS)?.insert(&digest, chunk.as_ref())?;
        }
        Change::Snapshot(head) => {
            transaction.open_table(SNAPSHOT)?.insert((), head.as_ref())?;
            // A head that cannot be read stands nowhere; whoever keeps one has sealed it.
            if let Ok(head) = SnapshotHead::read_own(&head) {
                let end = counts.get(END)?.map_or(0, |end| end.value());
                counts.insert(END, end.max(head.position.sequence))?;
            }
        }
        Change::DropRecords { up_to } => {
            transaction.open_table(RECORDS)?.retain_in(..=up_to, |_, _| false)?;
        }
        Change::DropChunks(digests) => {
            let mut chunks = transaction.open_table(CHUNKS)?;
            for digest in digests {
                chunks.remove(&digest)?;
            }
        }
        Change::Cell(key, expected, value) => {
            let mut cells = transaction.open_table(CELLS)?;
            let version = cells.get(key.as_str())?.map(|cell| cell.value().0);
            if version != expected {
                return Ok(false);
            }
            let next = counts.get(VERSION)?.map_or(0, |last| last.value()) + 1;
            counts.insert(VERSION, next)?;
            if value.is_empty() {
                cells.remove(key.as_str())?;
            } else {
                cells.insert(key.as_str(), (next, value.as_ref()))?;
            }
        }
    }
    Ok(true)
}
