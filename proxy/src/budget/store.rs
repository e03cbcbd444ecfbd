//! The budgets on disk: one row for each window of a device and agent, one for each of its rules.
//!
//! A row says how many bytes count as spent, which is never less than what was sent: it is written, and synced, before
//! the bytes are granted. A window's first row takes the place of the window before it, rules included; a row of an
//! earlier window is ignored, for nothing can come back to it.
//!
//! After an input or output fault the database refuses everything until it is opened again, which [`Store::write`] does
//! by itself, each time it is asked to write. Until it can, nothing is granted from here.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use config::{AgentName, DeviceId};
use policy_sync::window::Window;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

/// `(device, agent)` → `(opened_at, ends_at, bytes spent of the manifest's limit)`.
const WINDOWS: TableDefinition<'_, (&str, &str), (i64, i64, u64)> = TableDefinition::new("windows");
/// `(device, agent, rule)` → bytes spent of the rule's limit, in the device and agent's window.
const RULES: TableDefinition<'_, (&str, &str, &str), u64> = TableDefinition::new("rules");
/// Single numbers by name.
const MARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("marks");

const FORMAT: &str = "format";
const FORMAT_NOW: i64 = 1;
const WITNESSED: &str = "witnessed";

/// Enough for the rows in use; the rest is read again.
const CACHE_BYTES: usize = 16 << 20;
/// Sorts after every rule of a device and agent.
const AFTER_EVERY_RULE: &str = "\u{10ffff}";

/// Opens the database, the first time and again after a fault.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) device: DeviceId,
    pub(super) agent: AgentName,
}

/// Where a cell is written down: whose, in which window, and for which rule (`None`: the manifest as a whole).
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) subject: Subject,
    pub(super) window: Window,
    pub(super) rule: Option<Arc<str>>,
}

/// One number to write: so many bytes of this place are spent.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) place: &'a Place,
    pub(super) spent: u64,
}

/// What the store knows of a device and agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) window: Window,
    pub(super) spent: u64,
    pub(super) rules: Vec<(Arc<str>, u64)>,
}

/// The budgets' file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// The database says so.
    #[error("the budget store failed: {0}")]
    Database(#[from] Box<redb::Error>),
    /// It was written by a later version of the program.
    #[error("the budget store has format {0}, this program reads format {FORMAT_NOW}")]
    Format(i64),
    /// A fault before made it unusable, and it could not be opened again.
    #[error("the budget store is closed after a fault")]
    Closed,
}

/// The file.
pub(super) struct Store {
    open: Opener,
    database: RwLock<Option<Database>>,
}

impl Store {
    /// Opens or creates the file at `path`, readable for its owner only.
    pub(super) fn at(path: &Path) -> Result<Self, StoreFault> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_owned);
        let path = path.to_owned();
        let store = Self::over(move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            FileBackend::new(file.map_err(DatabaseError::from)?)
        })?;
        // The file's name has to survive a power cut as well as what is in it.
        File::open(directory.as_deref().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(store)
    }

    /// Opens the database in what `backend` returns, now and after every fault.
    pub(super) fn over<B: StorageBackend>(
        backend: impl Fn() -> Result<B, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, StoreFault> {
        let open: Opener = Box::new(move || {
            // A file that was damaged refuses to open instead of misleading: closed, not empty.
            redb::Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(backend()?)
        });
        let database = open().map_err(fault)?;
        prepare(&database)?;
        Ok(Self { open, database: RwLock::new(Some(database)) })
    }

    /// The newest time witnessed, in Unix seconds.
    pub(super) fn witnessed(&self) -> Result<i64, StoreFault> {
        self.read(|transaction| {
            let mark = transaction.open_table(MARKS)?.get(WITNESSED)?;
            Ok(mark.map_or(0, |mark| mark.value()))
        })
    }

    /// What is written down of `subject`.
    pub(super) fn row(&self, subject: &Subject) -> Result<Option<Row>, StoreFault> {
        let (device, agent) = (subject.device.as_str(), subject.agent.as_str());
        self.read(|transaction| {
            let Some(row) = transaction.open_table(WINDOWS)?.get((device, agent))? else { return Ok(None) };
            let (opened_at, ends_at, spent) = row.value();
            let mut rules = Vec::new();
            for rule in transaction
                .open_table(RULES)?
                .range((device, agent, "")..=(device, agent, AFTER_EVERY_RULE))?
            {
                let (key, spent) = rule?;
                rules.push((Arc::from(key.value().2), spent.value()));
            }
            Ok(Some(Row { window: Window { opened_at, ends_at }, spent, rules }))
        })
    }

    /// Writes all entries and the mark, or nothing; on return they are on disk.
    pub(super) fn write(&self, entries: &[Entry<'_>], witnessed: i64) -> Result<(), StoreFault> {
        self.change(|transaction| {
            {
                let mut windows = transaction.open_table(WINDOWS)?;
                let mut rules = transaction.open_table(RULES)?;
                for entry in entries {
                    write_entry(&mut windows, &mut rules, entry)?;
                }
            }
            transaction.open_table(MARKS)?.insert(WITNESSED, witnessed)?;
            Ok(())
        })
    }

    /// Forgets the windows that ended at `witnessed` or before; returns how many.
    pub(super) fn prune(&self, witnessed: i64) -> Result<usize, StoreFault> {
        self.change(|transaction| {
            let mut windows = transaction.open_table(WINDOWS)?;
            let mut rules = transaction.open_table(RULES)?;
            let mut ended = Vec::new();
            for row in windows.extract_if(|_, (_, ends_at, _)| ends_at <= witnessed)? {
                let (key, _) = row?;
                let (device, agent) = key.value();
                ended.push((device.to_owned(), agent.to_owned()));
            }
            for (device, agent) in &ended {
                forget_rules(&mut rules, device, agent)?;
            }
            transaction.open_table(MARKS)?.insert(WITNESSED, witnessed)?;
            Ok(ended.len())
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreFault> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(StoreFault::Closed)?.begin_read().map_err(fault)?;
        read(&transaction).map_err(fault)
    }

    fn change<T>(
        &self,
        change: impl Fn(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreFault> {
        self.reopen_if_closed()?;
        let outcome = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            commit(database.as_ref().ok_or(StoreFault::Closed)?, change)
        };
        if outcome.is_err() {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        outcome
    }

    fn reopen_if_closed(&self) -> Result<(), StoreFault> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let opened = (self.open)().map_err(fault)?;
            prepare(&opened)?;
            *database = Some(opened);
        }
        Ok(())
    }
}

fn commit<T>(
    database: &Database,
    change: impl Fn(&redb::WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, StoreFault> {
    let transaction = database.begin_write().map_err(fault)?;
    let done = change(&transaction).map_err(fault)?;
    transaction.commit().map_err(fault)?;
    Ok(done)
}

/// Creates the tables, and refuses a format from the future.
fn prepare(database: &Database) -> Result<(), StoreFault> {
    let format = commit(database, |transaction| {
        transaction.open_table(WINDOWS)?;
        transaction.open_table(RULES)?;
        let mut marks = transaction.open_table(MARKS)?;
        let format = marks.get(FORMAT)?.map(|mark| mark.value());
        if format.is_none() {
            marks.insert(FORMAT, FORMAT_NOW)?;
        }
        Ok(format.unwrap_or(FORMAT_NOW))
    })?;
    if format == FORMAT_NOW { Ok(()) } else { Err(StoreFault::Format(format)) }
}

fn write_entry(
    windows: &mut redb::Table<'_, (&'static str, &'static str), (i64, i64, u64)>,
    rules: &mut redb::Table<'_, (&'static str, &'static str, &'static str), u64>,
    Entry { place, spent }: &Entry<'_>,
) -> Result<(), redb::Error> {
    let (device, agent) = (place.subject.device.as_str(), place.subject.agent.as_str());
    let Window { opened_at, ends_at } = place.window;
    let known = windows.get((device, agent))?.map(|row| row.value());
    let of_manifest = match known {
        Some((_, other_end, _)) if other_end > ends_at => return Ok(()),
        Some((_, other_end, spent)) if other_end == ends_at => spent,
        _ => {
            forget_rules(rules, device, agent)?;
            0
        }
    };
    let of_manifest = if place.rule.is_none() { *spent } else { of_manifest };
    windows.insert((device, agent), (opened_at, ends_at, of_manifest))?;
    if let Some(rule) = &place.rule {
        rules.insert((device, agent, rule.as_ref()), spent)?;
    }
    Ok(())
}

fn forget_rules(
    rules: &mut redb::Table<'_, (&'static str, &'static str, &'static str), u64>,
    device: &str,
    agent: &str,
) -> Result<(), redb::Error> {
    rules.retain_in((device, agent, "")..=(device, agent, AFTER_EVERY_RULE), |_, _| false)?;
    Ok(())
}

fn fault(fault: impl Into<redb::Error>) -> StoreFault {
    StoreFault::Database(Box::new(fault.into()))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl From<io::Error> for StoreFault {
    fn from(error: io::Error) -> Self {
        fault(redb::Error::from(error))
    }
}
