//! The feed: where the current snapshot is found, and how a new one takes effect.
//!
//! Reading never waits. Publishing swaps the snapshot first and calls every enforcer afterwards: whoever registers a
//! session and then reads the policy either sees the new snapshot or is found by the enforcer. When publishing returns, the
//! change has taken effect on this gateway. The feed also knows how long ago its source was last heard of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::change::Change;
use crate::snapshot::{PolicyBounds, Snapshot};

/// Makes a change of policy take effect on live sessions.
pub trait Enforcer: Send + Sync {
    /// Called after `snapshot` has become the current one, before publishing returns. Must not publish.
    fn enforce(&self, snapshot: &Arc<Snapshot>, change: &Change) -> Receipt;
}

/// What enforcing a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// How many sessions were cut.
    pub sessions_cut: u64,
    /// How many bytes those sessions had sent to their destinations.
    pub upload_bytes: u64,
    /// From the swap to the last session cut.
    pub latency: Duration,
}

impl Receipt {
    /// Both together: sums, and the longer time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            sessions_cut: self.sessions_cut.saturating_add(other.sessions_cut),
            upload_bytes: self.upload_bytes.saturating_add(other.upload_bytes),
            latency: self.latency.max(other.latency),
        }
    }
}

/// The current policy and those who enforce it.
pub struct Feed {
    current: ArcSwap<Snapshot>,
    enforcers: Mutex<Vec<Arc<dyn Enforcer>>>,
    fresh: Mutex<Option<Freshness>>,
}

#[derive(Clone, Copy)]
struct Freshness {
    at: Instant,
    /// How old the policy already was at that moment.
    age: Duration,
}

impl Feed {
    /// A feed whose policy allows nothing and has never been fresh.
    #[must_use]
    pub fn new(bounds: PolicyBounds) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::empty(bounds)),
            enforcers: Mutex::default(),
            fresh: Mutex::new(None),
        }
    }

    /// The current snapshot. Never waits.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Has every later change enforced by this enforcer too.
    pub fn subscribe(&self, enforcer: Arc<dyn Enforcer>) {
        self.enforcers.lock().unwrap_or_else(PoisonError::into_inner).push(enforcer);
    }

    /// Makes `next` the current snapshot, then has it enforced, then returns. Publishers take turns.
    ///
    /// # Errors
    /// [`OutOfOrder`] when its revision is not greater than the current one; nothing has changed then.
    pub fn publish(&self, next: Arc<Snapshot>) -> Result<Receipt, OutOfOrder> {
        let enforcers = self.enforcers.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.current();
        if next.revision <= previous.revision {
            return Err(OutOfOrder { current: previous.revision, offered: next.revision });
        }
        let change = Change::between(&previous, &next);
        self.current.store(next.clone());
        let receipts = enforcers.iter().map(|enforcer| enforcer.enforce(&next, &change));
        Ok(receipts.fold(Receipt::default(), Receipt::and))
    }

    /// Notes that the source was heard of just now.
    pub fn stamp_fresh(&self) {
        self.set_age(Duration::ZERO);
    }

    /// Notes that what the feed holds is as old as this: after a restart without the source.
    pub fn set_age(&self, age: Duration) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        *fresh = Some(Freshness { at: Instant::now(), age });
    }

    /// How long ago the source was last heard of; `None` when never.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let fresh = *self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.map(|fresh| fresh.at.elapsed().saturating_add(fresh.age))
    }
}

/// A snapshot was offered after one with a higher revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revision {offered} was offered when revision {current} was already in force")]
pub struct OutOfOrder {
    /// The revision in force.
    pub current: u64,
    /// The revision that was offered.
    pub offered: u64,
}

#[cfg(test)]
mod tests;
