//! A cell that outlives its sessions: shared between them, and written down ahead of what it grants.
//!
//! Its lease grows on the ledger's thread. Where several gateways share the budget, the lease reaches no further than what a
//! control plane has handed out, which grows on the [`fleet`](super::fleet)'s thread. A session that finds the lease used up waits
//! here, until it has grown, or it is known that it cannot.
//!
//! What was handed out can be withdrawn from a cell again and given back, sessions or not: it is taken like an upload, so
//! nobody can spend it, and the cell's numbers count on from there. `withdrawn` says by how much they are ahead of what was
//! sent. Never writes or sends anything itself.

mod errands;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::{Limit, Reason};
use tokio::sync::Notify;

use super::account::Account;
use super::cell::{Cell, NOT_NOW};
use super::desk::Desk;
use super::fleet::Fleet;
use super::store::Place;

/// How long a session waits for its lease. What takes longer counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a budget that was used up is not asked for again, unless its limit moves.
const SPENT_FOR: Duration = Duration::from_secs(1);
/// Rounds without a byte after which a cell gives back what it does not use, although sessions hold it.
const IDLE_ROUNDS: u8 = 3;

/// Nothing more is granted from the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseFault {
    /// It could not be written down.
    #[error("the upload budget cannot be written down")]
    NotWritten,
    /// It is shared by several gateways, and no control plane could be asked for more of it.
    #[error("no control plane hands out more of the upload budget")]
    Unavailable,
    /// It is shared by several gateways, and used up, or less is left of it than is needed.
    #[error("the upload budget is used up")]
    Spent,
}

impl LeaseFault {
    /// The word for it when a session ends, in answers and events.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::NotWritten => Reason::InternalFault,
            Self::Unavailable => Reason::BudgetUnavailable,
            Self::Spent => Reason::UploadLimitExceeded,
        }
    }

    /// The word for it when a session does not begin.
    #[must_use]
    pub fn refusal(self) -> Reason {
        match self {
            Self::NotWritten | Self::Unavailable => self.reason(),
            Self::Spent => Reason::UploadBudgetSpent,
        }
    }
}

/// A rule's or a manifest's budget in one window.
#[derive(Debug)]
pub(super) struct SharedCell {
    pub(super) cell: Cell,
    pub(super) place: Place,
    fleet: Option<Arc<Fleet>>,
    dealings: Mutex<Dealings>,
    on_disk: AtomicU64,
    queued: AtomicBool,
    faults: AtomicU64,
    moved: Notify,
}

/// What is known of a cell beside its numbers. Never locked while bytes are reserved.
#[derive(Debug)]
struct Dealings {
    limit: Limit,
    /// When the manifest was issued that the limit is from, in Unix seconds.
    issued_at: i64,
    /// By how much the cell's numbers are ahead of what was sent.
    withdrawn: u64,
    account: Account,
    /// Whether a request is under way.
    drawing: bool,
    /// What waiting sessions need, at least.
    needed: u64,
    /// Whether nobody uses the cell any more.
    closes: bool,
    /// Whether the limit was lowered, so that what is held may be too much.
    lowered: bool,
    /// How many answers there were, and what the last one said.
    answers: u64,
    left: Option<u64>,
    spent_since: Option<Instant>,
    /// What was taken when a round last looked, and for how many rounds it has been that much.
    seen: (u64, u8),
}

impl SharedCell {
    /// A cell of which the store says that `spent` bytes are spent; with a `fleet`, the rest is handed out by a control plane.
    pub(super) fn new(place: Place, limit: Limit, spent: u64, fleet: Option<Arc<Fleet>>) -> Arc<Self> {
        let cell = if fleet.is_some() { Cell::shared(limit, spent) } else { Cell::durable(limit, spent) };
        let dealings = Dealings {
            limit,
            issued_at: i64::MIN,
            withdrawn: 0,
            account: Account::new(),
            drawing: false,
            needed: 0,
            closes: false,
            lowered: false,
            answers: 0,
            left: None,
            spent_since: None,
            seen: (0, 0),
        };
        Arc::new(Self {
            cell,
            place,
            fleet,
            dealings: Mutex::new(dealings),
            on_disk: AtomicU64::new(spent),
            queued: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            moved: Notify::new(),
        })
    }

    /// Puts another limit in force, from a manifest issued at this second.
    pub(super) fn set_limit(self: &Arc<Self>, limit: Limit, issued_at: i64, desk: &Desk) {
        let lowered = {
            let mut dealings = self.dealings();
            if dealings.limit == limit && dealings.issued_at == issued_at {
                return;
            }
            dealings.lowered |= is_lower(limit, dealings.limit) && dealings.account.is_open();
            dealings.spent_since = None;
            dealings.limit = limit;
            dealings.issued_at = issued_at;
            self.cell.set_limit(limit, dealings.withdrawn);
            dealings.lowered
        };
        if lowered {
            desk.ask(self);
        }
    }

    /// Says that sessions use the cell.
    pub(super) fn keep_open(&self) {
        self.dealings().closes = false;
    }

    /// Asks for a longer lease, or for more to be handed out, if it is time to and nobody has.
    pub(super) fn keep_leased(self: &Arc<Self>, desk: &Desk) {
        if self.cell.runs_low() {
            desk.ask(self);
        }
    }

    /// Waits until the lease is not what is short.
    pub(super) async fn leased(self: &Arc<Self>, desk: &Desk) -> Result<(), LeaseFault> {
        let faults_before = self.faults.load(Ordering::Acquire);
        let growth = async {
            loop {
                // Listen first, look second: a lease that grows in between still wakes this task.
                let moved = self.moved.notified();
                if self.cell.has_room() {
                    return Ok(());
                }
                if self.faults.load(Ordering::Acquire) != faults_before {
                    return Err(LeaseFault::NotWritten);
                }
                let lacks = self.lacks_more();
                if lacks != Ok(false) {
                    let mut dealings = self.dealings();
                    dealings.needed = dealings.needed.max(1);
                }
                // Asked for even when nobody waits for it: so it is noticed that control planes are back.
                desk.ask(self);
                lacks?;
                moved.await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, growth).await;
        in_time.unwrap_or_else(|_| {
            Err(if self.is_short() { LeaseFault::Unavailable } else { LeaseFault::NotWritten })
        })
    }

    /// Waits until something is held of what a control plane hands out, before anything is sent: at least `bytes`, or as
    /// much of them as it hands out at once while it has the rest.
    pub(super) async fn opened(self: &Arc<Self>, desk: &Desk, bytes: u64) -> Result<(), LeaseFault> {
        let answers_before = self.dealings().answers;
        let growth = async {
            loop {
                let moved = self.moved.notified();
                let Some(held) = self.cell.held() else { return Ok(()) };
                if held >= bytes {
                    return Ok(());
                }
                {
                    let mut dealings = self.dealings();
                    let answered = dealings.answers != answers_before;
                    let known = dealings.left.map_or(u64::MAX, |left| held.saturating_add(left));
                    if (answered || dealings.is_spent()) && known < bytes {
                        return Err(LeaseFault::Spent);
                    }
                    if answered && held > 0 {
                        return Ok(());
                    }
                    dealings.needed = dealings.needed.max(bytes);
                }
                desk.ask(self);
                if self.fleet.as_ref().is_some_and(|fleet| fleet.is_down()) {
                    return Err(LeaseFault::Unavailable);
                }
                moved.await;
            }
        };
        tokio::time::timeout(PATIENCE, growth).await.unwrap_or(Err(LeaseFault::Unavailable))
    }

    /// Whether a session waits because no more was handed out, and not for the disk.
    fn is_short(&self) -> bool {
        self.cell.held() == Some(0) && !self.cell.waits_for_lease()
    }

    /// As [`Self::is_short`]; an error when waiting has no point.
    fn lacks_more(&self) -> Result<bool, LeaseFault> {
        if !self.is_short() {
            return Ok(false);
        }
        // What is being written at this moment may come back: it is not spent before it has been sent.
        if self.dealings().is_spent() && self.cell.committed() >= self.cell.handed() {
            return Err(LeaseFault::Spent);
        }
        match &self.fleet {
            Some(fleet) if fleet.is_down() => Err(LeaseFault::Unavailable),
            _ => Ok(true),
        }
    }

    /// What is left, in bytes, as far as this gateway knows; `None` when there is no limit.
    pub(super) fn left(&self) -> Option<u64> {
        // Under the lock, because a withdrawal moves two numbers.
        let _still = self.dealings();
        self.cell.left()
    }

    /// Whether the whole limit has been sent, as far as this gateway knows.
    pub(super) fn is_spent(&self) -> bool {
        let _still = self.dealings();
        self.cell.is_spent()
    }

    /// Whether this call is the one that puts the cell into the queue.
    pub(super) fn enters_queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// The ledger has taken the cell out of the queue. From here on it may be asked for again.
    pub(super) fn leaves_queue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// The store has it that the lease reaches up to `until`, in the cell's numbers: they may be granted.
    pub(super) fn written(&self, until: u64) {
        self.on_disk.store(until.saturating_sub(self.dealings().withdrawn), Ordering::Release);
        self.cell.extend_lease(until);
        self.moved.notify_waiters();
    }

    /// The store has it that exactly `spent` bytes are spent: the lease has been given back.
    pub(super) fn given_back(&self, spent: u64) {
        self.on_disk.store(spent, Ordering::Release);
    }

    /// The store could not write it.
    pub(super) fn not_written(&self) {
        self.faults.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_waiters();
    }

    /// Whether the store says exactly what is spent, so that nothing is lost by forgetting the cell.
    pub(super) fn is_clean(&self) -> bool {
        let spent = self.cell.taken().saturating_sub(self.dealings().withdrawn);
        self.on_disk.load(Ordering::Acquire) == spent && !self.queued.load(Ordering::Acquire)
    }

    /// So much of the cell's numbers was sent, or counts as sent: `until` without what was withdrawn.
    pub(super) fn as_spent(&self, until: u64) -> u64 {
        until.saturating_sub(self.dealings().withdrawn)
    }

    /// Bytes sent.
    pub(super) fn sent(&self) -> u64 {
        let dealings = self.dealings();
        self.cell.committed().saturating_sub(dealings.withdrawn)
    }

    /// Ends the lease at what is taken, gives back what is held, and returns what was spent. Only while no session holds the
    /// cell, on the ledger's thread.
    pub(super) fn end_lease(&self) -> u64 {
        let mut dealings = self.dealings();
        self.withdraw(&mut dealings);
        dealings.closes = true;
        self.cell.end_lease().saturating_sub(dealings.withdrawn)
    }

    /// Ends the lease for good, sessions or not, gives back what is held, and returns what was spent.
    pub(super) fn seal(&self) -> u64 {
        let mut dealings = self.dealings();
        let taken = self.cell.seal();
        let held = self.cell.handed().saturating_sub(taken);
        dealings.account.give_back(held);
        dealings.closes = true;
        taken.saturating_sub(dealings.withdrawn)
    }

    /// Gives back what is held, if the cell has not been used for some rounds; says whether it did. On the ledger's thread.
    pub(super) fn rests(&self) -> bool {
        let mut dealings = self.dealings();
        let taken = self.cell.taken();
        let (seen, rounds) = dealings.seen;
        let rounds = if seen == taken { rounds.saturating_add(1) } else { 0 };
        dealings.seen = (taken, rounds);
        let rests = rounds >= IDLE_ROUNDS && self.cell.held().is_some_and(|held| held > 0);
        if rests {
            self.withdraw(&mut dealings);
        }
        rests
    }

    /// Gives back what is held, if the limit was lowered; says whether it did. On the ledger's thread.
    pub(super) fn yields(&self) -> bool {
        let mut dealings = self.dealings();
        let yields = std::mem::take(&mut dealings.lowered);
        if yields {
            self.withdraw(&mut dealings);
        }
        yields
    }

    /// Takes what is held out of the cell for good, and puts it back into the account. On the ledger's thread, the only one
    /// that extends leases.
    fn withdraw(&self, dealings: &mut Dealings) {
        if self.fleet.is_none() || !dealings.account.is_open() {
            return;
        }
        let rest = self.cell.take_lease();
        let unspent = self.cell.handed().saturating_sub(rest.start);
        let given = dealings.account.give_back(unspent);
        let taken = rest.end - rest.start;
        dealings.withdrawn = dealings.withdrawn.saturating_add(taken);
        self.cell.set_limit(dealings.limit, dealings.withdrawn);
        self.cell.settle(taken, taken);
        self.cell.hand(rest.end + (unspent - given), NOT_NOW);
    }

    fn dealings(&self) -> MutexGuard<'_, Dealings> {
        // Changed as a whole by short functions that cannot panic half-way.
        self.dealings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dealings {
    fn is_spent(&self) -> bool {
        self.spent_since.is_some_and(|since| since.elapsed() < SPENT_FOR)
    }

    fn has_news(&self) -> bool {
        self.account.owes() || (self.closes && self.account.is_open())
    }
}

fn is_lower(limit: Limit, before: Limit) -> bool {
    match (limit, before) {
        (Limit::Bytes(_), Limit::Unlimited) => true,
        (Limit::Bytes(limit), Limit::Bytes(before)) => limit < before,
        (Limit::Unlimited, _) => false,
    }
}
