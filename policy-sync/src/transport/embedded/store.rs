//! The file of the log: records by sequence, the latest snapshot, and cells, in one redb database.
//!
//! One thread writes. Whatever waits for it when it begins a commit shares that commit, so that many appends pay for one sync. Nothing is
//! answered before the commit that holds it is on the disk. Readers see the last commit and wait for nobody.

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
    Snapshot(Bytes, u64),
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

    pub(super) async fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> Result<(), TransportFault> {
        self.write(Change::Snapshot(head, keep_after)).await.map_err(into_transport)
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

/// Makes every table, so that readers find them.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(CELLS)?;
    transaction.open_table(SNAPSHOT)?;
    transaction.open_table(COUNTS)?;
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
        Change::Snapshot(head, keep_after) => {
            transaction.open_table(SNAPSHOT)?.insert((), head.as_ref())?;
            transaction.open_table(RECORDS)?.retain_in(..=keep_after, |_, _| false)?;
            // A head that cannot be read names no chunks; whoever keeps one has sealed it.
            if let Ok(head) = SnapshotHead::read_own(&head) {
                let named: std::collections::HashSet<_> = head.chunks.into_iter().collect();
                transaction.open_table(CHUNKS)?.retain(|digest, _| named.contains(digest))?;
                let end = counts.get(END)?.map_or(0, |end| end.value());
                counts.insert(END, end.max(head.position.sequence))?;
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
