//! The thread that writes budgets down: longer leases for the cells that ask, exact amounts for those nobody uses.
//!
//! Many requests go into one commit. A lease is granted after its commit, given back before it, so the file never says
//! less than what may have been sent. When a commit fails, whoever waits is told, and the next request, or the next
//! round at the latest, tries again.
//!
//! One thread, so that amounts reach the file in the order they came about. Never runs on the data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use policy_sync::window::Clock;

use super::book::{Backing, Book, Use};
use super::desk::{Desk, Pickup};
use super::fleet::Fleet;
use super::lease::SharedCell;
use super::store::{Entry, Store, StoreFault, Subject};

/// How often quiet budgets are looked for.
const ROUND: Duration = Duration::from_secs(1);
/// How long a failed store is left alone.
const REST: Duration = Duration::from_millis(200);
/// How far the witnessed time moves between two prunings, in seconds.
const PRUNE_EVERY: i64 = 600;

/// All books, and the file they are kept in.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) books: DashMap<Subject, Book>,
    pub(super) store: Store,
    pub(super) desk: Arc<Desk>,
    pub(super) fleet: Option<Arc<Fleet>>,
    pub(super) clock: Clock,
    pub(super) healthy: AtomicBool,
    pub(super) commits: AtomicU64,
    pub(super) faults: AtomicU64,
}

impl Ledger {
    /// A ledger over `store`, at `now` (Unix seconds).
    pub(super) fn new(
        store: Store,
        desk: Arc<Desk>,
        fleet: Option<Arc<Fleet>>,
        now: i64,
    ) -> Result<Self, StoreFault> {
        let clock = Clock::new(now, store.witnessed()?);
        Ok(Self {
            books: DashMap::new(),
            store,
            desk,
            fleet,
            clock,
            healthy: AtomicBool::new(true),
            commits: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// Serves the desk until it closes, then writes down exactly what was spent.
    pub(super) fn run(&self) -> Result<(), StoreFault> {
        let mut next_round = Instant::now() + ROUND;
        let mut pruned_at = 0;
        loop {
            match self.desk.pick_up(next_round) {
                Pickup::Closing => return self.close_books(),
                Pickup::Requests(cells) => self.extend_leases(&cells),
            }
            if Instant::now() >= next_round {
                self.round(&mut pruned_at);
                next_round = Instant::now() + ROUND;
            }
        }
    }

    /// What new books rely on.
    pub(super) fn backing(&self) -> Backing {
        Backing { desk: Arc::clone(&self.desk), fleet: self.fleet.clone() }
    }

    /// Writes longer leases for those of `cells` that may have them, then grants them; has more handed out for the others.
    pub(super) fn extend_leases(&self, cells: &[Arc<SharedCell>]) {
        // Out of the queue before the amounts are read: what is used up from here on asks again.
        cells.iter().for_each(|cell| cell.leaves_queue());
        let changes = |cell: &&Arc<SharedCell>| cell.yields() || cell.cell.lease_can_grow();
        let amounts: Vec<_> =
            cells.iter().filter(changes).map(|cell| (Arc::clone(cell), cell.cell.next_lease())).collect();
        self.run_errands(cells);
        if amounts.is_empty() {
            return;
        }
        let spent: Vec<_> =
            amounts.iter().map(|(cell, until)| (Arc::clone(cell), cell.as_spent(*until))).collect();
        match self.write(&spent) {
            Ok(()) => amounts.iter().for_each(|(cell, until)| cell.written(*until)),
            Err(_) => {
                amounts.iter().for_each(|(cell, _)| cell.not_written());
                self.desk.pause(REST);
            }
        }
    }

    fn run_errands<'a>(&self, cells: impl IntoIterator<Item = &'a Arc<SharedCell>>) {
        if let Some(fleet) = &self.fleet {
            cells.into_iter().filter(|cell| cell.has_errand()).for_each(|cell| fleet.ask(cell));
        }
    }

    /// Gives back what quiet books hold, forgets those that the file knows all of, and prunes the file.
    pub(super) fn round(&self, pruned_at: &mut i64) {
        let mut returns = self.age_books();
        self.run_errands(returns.iter().map(|(cell, _)| cell));
        returns.retain(|(cell, _)| !cell.is_clean());
        let probing = !self.healthy.load(Ordering::Relaxed);
        if (probing || !returns.is_empty()) && self.write(&returns).is_ok() {
            returns.iter().for_each(|(cell, spent)| cell.given_back(*spent));
        }
        let witnessed = self.clock.witnessed();
        if witnessed >= pruned_at.saturating_add(PRUNE_EVERY) && self.prune(witnessed) {
            *pruned_at = witnessed;
        }
    }

    fn age_books(&self) -> Vec<(Arc<SharedCell>, u64)> {
        let mut returns = Vec::new();
        self.books.retain(|_, book| match book.age() {
            Use::Held => true,
            Use::Forgettable => false,
            Use::Returns(cells) => {
                returns.extend(cells);
                true
            }
        });
        returns
    }

    fn prune(&self, witnessed: i64) -> bool {
        let outcome = self.store.prune(witnessed);
        self.observe(outcome.map(|_| ())).is_ok()
    }

    /// The last commit of a clean shutdown.
    fn close_books(&self) -> Result<(), StoreFault> {
        let spent: Vec<_> = self.books.iter().flat_map(|book| book.seal()).collect();
        let written = self.write(&spent);
        self.run_errands(spent.iter().map(|(cell, _)| cell));
        written
    }

    fn write(&self, amounts: &[(Arc<SharedCell>, u64)]) -> Result<(), StoreFault> {
        let entries: Vec<_> =
            amounts.iter().map(|(cell, spent)| Entry { place: &cell.place, spent: *spent }).collect();
        self.observe(self.store.write(&entries, self.clock.witnessed()))
    }

    fn observe(&self, outcome: Result<(), StoreFault>) -> Result<(), StoreFault> {
        let was_healthy = self.healthy.swap(outcome.is_ok(), Ordering::AcqRel);
        match &outcome {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                if !was_healthy {
                    tracing::info!("upload budgets are written down again");
                }
            }
            Err(fault) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                if was_healthy {
                    tracing::error!(%fault, "upload budgets cannot be written down; sessions end when their leases do");
                }
            }
        }
        outcome
    }
}
