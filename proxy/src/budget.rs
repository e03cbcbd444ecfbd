//! Upload budgets: how much a session, a rule and a manifest may still send, exactly, across parallel sessions, restarts
//! and crashes.
//!
//! In reading order: [`cell`] counts one scope without locks · [`meter`] is what a session holds ·
//! [`policy_sync::window`] decides which window of time a manifest spends from, by a clock that no step can hurry ·
//! [`book`] holds one window's cells · [`lease`] makes a cell wait for the disk, at the [`desk`] · [`ledger`] is the
//! thread that writes · [`store`] is the file.
//!
//! Two promises. A limit is never exceeded by a byte, whoever races. And nothing refills a budget but the end of its
//! window: amounts are written to disk before they are granted (a lease), so a crash loses at most one lease, and
//! windows belong to the device and agent, so neither a new connection nor a new file, manifest id or clock changes
//! what is spent.
//!
//! Never writes payload, never ends a session: it says what may be sent, the tunnel obeys.

mod book;
mod cell;
mod desk;
mod lease;
mod ledger;
mod meter;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use config::{AgentName, DeviceId, Limit, Reason};
use dashmap::Entry;
pub use policy_sync::window::Window;
use policy_sync::window::{Standing, standing};

use self::book::Book;
pub use self::lease::LeaseFault;
use self::ledger::Ledger;
pub use self::meter::{Meter, Reserved, Scope};
pub use self::store::StoreFault;
use self::store::{Store, Subject};

/// Whose uploads are counted, and what was granted.
#[derive(Debug, Clone, Copy)]
pub struct BudgetSubject<'a> {
    /// The device of the session.
    pub device: &'a DeviceId,
    /// The agent of the manifest.
    pub agent: &'a AgentName,
    /// When the manifest was issued, in Unix seconds.
    pub issued_at: i64,
    /// When it expires, in Unix seconds.
    pub expires_at: i64,
    /// The manifest's `upload_bytes`, or the gateway's default.
    pub manifest_limit: Limit,
    /// The rule that allows the session, as its pattern is printed, and its `upload_bytes`. None when no rule does.
    pub rule: Option<(&'a str, Limit)>,
    /// What this session alone may send.
    pub session_limit: Limit,
}

/// No budget can be had.
#[derive(Debug, thiserror::Error)]
pub enum BudgetFault {
    /// The file of the budgets cannot be read or opened.
    #[error("the upload budgets cannot be read")]
    Store(#[from] StoreFault),
    /// The manifest's window has ended, whatever the clock now says.
    #[error("the window of the manifest has ended")]
    WindowEnded,
    /// The thread that writes the budgets could not be started, or is gone.
    #[error("the upload budgets cannot be written")]
    NoWriter,
}

/// What a device and agent have sent in their open window, in bytes. After a crash it includes the leases lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spending {
    /// The window.
    pub window: Window,
    /// Of the manifest's limit.
    pub bytes: u64,
    /// Of each rule's limit, by the rule's pattern; rules that were never used are absent.
    pub rules: Vec<(Arc<str>, u64)>,
}

/// How the keeping of budgets goes, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetFigures {
    /// Devices and agents whose budgets are in memory.
    pub books: usize,
    /// Commits so far.
    pub commits: u64,
    /// Commits that failed so far.
    pub faults: u64,
    /// Whether the last commit succeeded.
    pub healthy: bool,
}

/// All upload budgets of a gateway.
#[derive(Debug)]
pub struct Budgets {
    ledger: Arc<Ledger>,
    writer: Mutex<Option<JoinHandle<Result<(), StoreFault>>>>,
}

impl Budgets {
    /// Opens the file at `path`, or creates it, at `now` (Unix seconds), and starts the thread that writes to it.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is in use by another process. A gateway then does not start: an
    /// empty file in its place would refill every budget.
    pub fn open(path: &Path, now: i64) -> Result<Self, BudgetFault> {
        Self::over(Store::at(path)?, now)
    }

    /// Budgets that last as long as the process, for throw-away deployments.
    ///
    /// # Errors
    /// When the thread that keeps them cannot be started.
    pub fn in_memory(now: i64) -> Result<Self, BudgetFault> {
        Self::over(Store::over(|| Ok(redb::backends::InMemoryBackend::new()))?, now)
    }

    fn over(store: Store, now: i64) -> Result<Self, BudgetFault> {
        let budgets = Self::without_writer(store, now)?;
        let ledger = Arc::clone(&budgets.ledger);
        let writer = thread::Builder::new().name("budgets".into()).spawn(move || ledger.run());
        *budgets.lock_writer() = Some(writer.map_err(|_| BudgetFault::NoWriter)?);
        Ok(budgets)
    }

    fn without_writer(store: Store, now: i64) -> Result<Self, BudgetFault> {
        Ok(Self { ledger: Arc::new(Ledger::new(store, now)?), writer: Mutex::new(None) })
    }

    /// The meter of a new session, at `now` (Unix seconds, the wall clock). May read the file, once for a device and
    /// agent that have not been seen for some seconds.
    ///
    /// # Errors
    /// [`BudgetFault`]; the session is refused with its [`BudgetFault::reason`].
    pub fn meter(&self, subject: &BudgetSubject<'_>, now: i64) -> Result<Meter, BudgetFault> {
        self.with_book(subject, now, |book| {
            let (rule, manifest) = book.cells_for(subject);
            let desk = Arc::clone(&self.ledger.desk);
            Meter::new(subject.session_limit, rule, manifest, desk, book.window())
        })
    }

    /// Applies the limits of a manifest to the sessions that are open: to be called when one supersedes another. One
    /// call for each rule that sessions hold; see [`Meter::set_session_limit`] for the sessions themselves.
    ///
    /// # Errors
    /// As [`Self::meter`].
    pub fn regrant(&self, subject: &BudgetSubject<'_>, now: i64) -> Result<(), BudgetFault> {
        self.with_book(subject, now, |_| ())
    }

    fn with_book<T>(
        &self,
        subject: &BudgetSubject<'_>,
        now: i64,
        visit: impl FnOnce(&mut Book) -> T,
    ) -> Result<T, BudgetFault> {
        let moment = self.ledger.clock.read(now, subject.issued_at);
        let key = Subject { device: subject.device.clone(), agent: subject.agent.clone() };
        let mut entry = match self.ledger.books.entry(key.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(unknown) => {
                let book = match self.ledger.store.row(&key)? {
                    Some(row) => Book::recall(key, row),
                    None => match standing(None, subject.issued_at, subject.expires_at, moment) {
                        Standing::Opens(window) => Book::open(key, window),
                        Standing::Inside | Standing::Over => return Err(BudgetFault::WindowEnded),
                    },
                };
                unknown.insert_entry(book)
            }
        };
        let book = entry.get_mut();
        match standing(Some(book.window()), subject.issued_at, subject.expires_at, moment) {
            Standing::Inside => {}
            Standing::Opens(window) => book.turn_to(window),
            Standing::Over => return Err(BudgetFault::WindowEnded),
        }
        book.grant(subject);
        Ok(visit(book))
    }

    /// What `device` and `agent` have sent in their latest window; `None` if none is remembered.
    ///
    /// # Errors
    /// When the file has to be read and cannot be.
    pub fn spent(&self, device: &DeviceId, agent: &AgentName) -> Result<Option<Spending>, BudgetFault> {
        let key = Subject { device: device.clone(), agent: agent.clone() };
        if let Some(book) = self.ledger.books.get(&key) {
            return Ok(Some(book.spending()));
        }
        let row = self.ledger.store.row(&key)?;
        Ok(row.map(|row| Spending { window: row.window, bytes: row.spent, rules: row.rules }))
    }

    /// Whether budgets can be written down. When not, new sessions are better refused: they would end at their first
    /// write.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.ledger.healthy.load(Ordering::Acquire)
    }

    /// How the keeping of budgets goes.
    #[must_use]
    pub fn figures(&self) -> BudgetFigures {
        BudgetFigures {
            books: self.ledger.books.len(),
            commits: self.ledger.commits.load(Ordering::Relaxed),
            faults: self.ledger.faults.load(Ordering::Relaxed),
            healthy: self.healthy(),
        }
    }

    /// Ends all leases and writes down exactly what was spent; nothing is granted afterwards. Blocks for one commit.
    /// Dropping the budgets does the same.
    ///
    /// # Errors
    /// When that cannot be written: the file then says that whole leases were spent.
    pub fn close(&self) -> Result<(), BudgetFault> {
        self.ledger.desk.close();
        match self.lock_writer().take() {
            Some(writer) => Ok(writer.join().map_err(|_| BudgetFault::NoWriter)??),
            None => Ok(()),
        }
    }

    fn lock_writer(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<Result<(), StoreFault>>>> {
        // Only ever set or taken whole, so a poisoned lock is as good.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        if let Err(fault) = self.close() {
            tracing::error!(%fault, "what was spent could not be written down exactly");
        }
    }
}

impl BudgetFault {
    /// The word for it in answers and events.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::WindowEnded => Reason::ManifestExpired,
            Self::Store(_) | Self::NoWriter => Reason::InternalFault,
        }
    }
}
