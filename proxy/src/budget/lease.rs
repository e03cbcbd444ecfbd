//! A cell that outlives its sessions: shared between them, and written down ahead of what it grants.
//!
//! Its lease grows on the ledger's thread. A session that finds the lease used up waits here, until the lease has
//! grown or the ledger could not write it.
//!
//! Never writes anything itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use config::{Limit, Reason};
use tokio::sync::Notify;

use super::cell::Cell;
use super::desk::Desk;
use super::store::Place;

/// How long a session waits for its lease. A disk that takes longer counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// The budget could not be written down, so nothing more is granted from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upload budget cannot be written down")]
pub struct LeaseFault;

impl LeaseFault {
    /// The word for it in answers and events: the fault is the gateway's own, and it fails closed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::InternalFault
    }
}

/// A rule's or a manifest's budget in one window.
#[derive(Debug)]
pub(super) struct SharedCell {
    pub(super) cell: Cell,
    pub(super) place: Place,
    on_disk: AtomicU64,
    queued: AtomicBool,
    faults: AtomicU64,
    moved: Notify,
}

impl SharedCell {
    /// A cell of which the store says that `spent` bytes are spent.
    pub(super) fn new(place: Place, limit: Limit, spent: u64) -> Arc<Self> {
        Arc::new(Self {
            cell: Cell::durable(limit, spent),
            place,
            on_disk: AtomicU64::new(spent),
            queued: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            moved: Notify::new(),
        })
    }

    /// Asks for a longer lease, if it is time to and nobody has.
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
                    return Err(LeaseFault);
                }
                desk.ask(self);
                moved.await;
            }
        };
        tokio::time::timeout(PATIENCE, growth).await.unwrap_or(Err(LeaseFault))
    }

    /// Whether this call is the one that puts the cell into the queue.
    pub(super) fn enters_queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// The ledger has taken the cell out of the queue. From here on it may be asked for again.
    pub(super) fn leaves_queue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// The store has it that `until` bytes are spent: they may be granted.
    pub(super) fn written(&self, until: u64) {
        self.on_disk.store(until, Ordering::Release);
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
        self.on_disk.load(Ordering::Acquire) == self.cell.taken() && !self.queued.load(Ordering::Acquire)
    }
}
