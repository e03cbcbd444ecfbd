//! Upload budgets: how much a session, a rule and a manifest may still send, exactly, across parallel sessions, restarts
//! and crashes.
//!
//! In reading order: [`cell`] counts one scope without locks · [`meter`] is what a session holds ·
//! [`policy_sync::window`] decides which window of time a manifest spends from, by a clock that no step can hurry ·
//! [`book`] holds one window's cells · [`lease`] makes a cell wait for the disk, at the [`desk`] · [`ledger`] is the
//! thread that writes · [`store`] is the file · [`account`] and [`fleet`] have parts of a budget handed out that several
//! gateways share.
//!
//! Two promises. A limit is never exceeded by a byte, whoever races. And nothing refills a budget but the end of its
//! window: amounts are written to disk before they are granted (a lease), so a crash loses at most one lease, and
//! windows belong to the device and agent, so neither a new connection nor a new file, manifest id or clock changes
//! what is spent.
//!
//! Never writes payload, never ends a session: it says what may be sent, the tunnel obeys.

mod account;
mod book;
mod cell;
mod desk;
mod fleet;
mod lease;
mod ledger;
mod meter;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use config::{AgentName, DeviceId, Limit, Reason};
use dashmap::Entry;
pub use policy_sync::window::Window;
use policy_sync::window::{Standing, standing};

use self::book::Book;
use self::desk::Desk;
use self::fleet::Fleet;
pub use self::fleet::Grants;
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
    /// A metric of the shared budgets is registered already.
    #[error("the metrics of the upload budgets cannot be registered")]
    Metrics(#[from] prometheus::Error),
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
    /// The thread of the fleet, where several gateways share the budgets.
    drawer: Mutex<Option<JoinHandle<()>>>,
}

impl Budgets {
    /// Opens the file at `path`, or creates it, at `now` (Unix seconds), and starts the thread that writes to it. The gateway
    /// counts alone.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or is in use by another process. A gateway then does not start: an
    /// empty file in its place would refill every budget.
    pub fn open(path: &Path, now: i64) -> Result<Self, BudgetFault> {
        Self::over(Store::at(path)?, None, now)
    }

    /// As [`Self::open`], but the budgets are shared with other gateways: of a limited one nothing may be spent that was not
    /// handed out to this gateway, see [`Self::draw_from`].
    ///
    /// # Errors
    /// As [`Self::open`]; and when the registry already holds one of the metrics.
    pub fn open_shared(path: &Path, now: i64, registry: &prometheus::Registry) -> Result<Self, BudgetFault> {
        Self::over(Store::at(path)?, Some(registry), now)
    }

    /// Budgets that last as long as the process, for throw-away deployments.
    ///
    /// # Errors
    /// When the thread that keeps them cannot be started.
    pub fn in_memory(now: i64) -> Result<Self, BudgetFault> {
        Self::over(Store::over(|| Ok(redb::backends::InMemoryBackend::new()))?, None, now)
    }

    fn over(store: Store, shared: Option<&prometheus::Registry>, now: i64) -> Result<Self, BudgetFault> {
        let budgets = Self::without_writer(store, shared, now)?;
        if let Some(fleet) = &budgets.ledger.fleet {
            *lock(&budgets.drawer) = Some(fleet.start().map_err(|_| BudgetFault::NoWriter)?);
        }
        let ledger = Arc::clone(&budgets.ledger);
        let writer = thread::Builder::new().name("budgets".into()).spawn(move || ledger.run());
        *lock(&budgets.writer) = Some(writer.map_err(|_| BudgetFault::NoWriter)?);
        Ok(budgets)
    }

    fn without_writer(
        store: Store,
        shared: Option<&prometheus::Registry>,
        now: i64,
    ) -> Result<Self, BudgetFault> {
        let desk = Arc::new(Desk::default());
        let fleet = match shared {
            Some(registry) => Some(Arc::new(Fleet::new(Arc::clone(&desk), registry)?)),
            None => None,
        };
        let ledger = Arc::new(Ledger::new(store, desk, fleet, now)?);
        Ok(Self { ledger, writer: Mutex::default(), drawer: Mutex::default() })
    }

    /// Has shared budgets handed out by `grants` from now on; before that nothing is. Only the first call counts.
    pub fn draw_from(&self, grants: Arc<dyn Grants>) {
        if let Some(fleet) = &self.ledger.fleet {
            fleet.draw_from(grants);
        }
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
                    Some(row) => Book::recall(key, row, self.ledger.backing()),
                    None => match standing(None, subject.issued_at, subject.expires_at, moment) {
                        Standing::Opens(window) => Book::open(key, window, self.ledger.backing()),
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

    /// Ends all leases, writes down exactly what was spent, and gives back what is held of shared budgets; nothing is granted
    /// afterwards. Blocks for one commit, and for some seconds at most where budgets are shared. Dropping the budgets does
    /// the same.
    ///
    /// # Errors
    /// When that cannot be written: the file then says that whole leases were spent.
    pub fn close(&self) -> Result<(), BudgetFault> {
        self.ledger.desk.close();
        let written = match lock(&self.writer).take() {
            Some(writer) => writer.join().map_err(|_| BudgetFault::NoWriter)?,
            None => Ok(()),
        };
        if let (Some(fleet), Some(drawer)) = (&self.ledger.fleet, lock(&self.drawer).take()) {
            fleet.close();
            drawer.join().map_err(|_| BudgetFault::NoWriter)?;
        }
        Ok(written?)
    }
}

fn lock<T>(thread: &Mutex<Option<T>>) -> MutexGuard<'_, Option<T>> {
    // Only ever set or taken whole, so a poisoned lock is as good.
    thread.lock().unwrap_or_else(PoisonError::into_inner)
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
            Self::Store(_) | Self::Metrics(_) | Self::NoWriter => Reason::InternalFault,
        }
    }
}
