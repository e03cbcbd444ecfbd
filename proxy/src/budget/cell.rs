//! One scope's budget as four atomic numbers: what is granted, what is taken, what has been sent, and up to where it is
//! on disk that it may be spent.
//!
//! Bytes are reserved before they are written, and what a write did not take is given back. At every instant
//! `committed ≤ taken`, and a reservation never lifts `taken` above the limit or above the lease, however many
//! threads race. Nothing here waits, locks or allocates.
//!
//! Never knows whose budget it is, or how a lease grows.

use std::sync::atomic::{AtomicU64, Ordering};

use config::Limit;

/// How `u64::MAX` in [`Cell::limit`] reads. A limit of so many bytes is one byte less: nobody will notice.
const UNLIMITED: u64 = u64::MAX;

/// Where `taken` stands once a cell is sealed: above every lease, and far from wrapping around.
const SEALED: u64 = 1 << 63;

/// The most that one reservation asks for, so that no sum here can wrap.
pub(super) const MOST_AT_ONCE: u64 = 1 << 32;

/// The least a limited cell is leased ahead, in bytes.
const LEAST_LEASE: u64 = 64 << 10;

/// The most a cell of ordinary size is leased ahead, in bytes. Above 8 GiB a thousandth of the limit takes its place.
const USUAL_LEASE: u64 = 8 << 20;

/// The budget of one scope.
#[derive(Debug)]
pub(super) struct Cell {
    limit: AtomicU64,
    taken: AtomicU64,
    committed: AtomicU64,
    leased: AtomicU64,
}

/// The answer to a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// So many bytes, at least one, may be written now; then they are settled.
    Granted(u64),
    /// Everything left is reserved by writes under way; some of it may come back.
    Busy,
    /// The limit has been sent.
    Spent,
    /// The limit has not been reached, the lease has.
    Unleased,
}

impl Cell {
    /// A cell that lives and dies with its session: nothing of it is on disk.
    pub(super) fn fleeting(limit: Limit) -> Self {
        Self::with(limit, 0, u64::MAX)
    }

    /// A cell of which `spent` bytes are on disk as spent, and no more may be before the lease grows.
    pub(super) fn durable(limit: Limit, spent: u64) -> Self {
        let spent = spent.min(SEALED / 2);
        Self::with(limit, spent, spent)
    }

    fn with(limit: Limit, spent: u64, leased: u64) -> Self {
        Self {
            limit: AtomicU64::new(bytes_of(limit)),
            taken: AtomicU64::new(spent),
            committed: AtomicU64::new(spent),
            leased: AtomicU64::new(leased),
        }
    }

    /// Takes up to `want` bytes, `want` between 1 and [`MOST_AT_ONCE`].
    ///
    /// An unlimited cell costs one relaxed addition. Its lease is kept up in the background but never waited for.
    pub(super) fn reserve(&self, want: u64) -> Grant {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == UNLIMITED {
            self.taken.fetch_add(want, Ordering::Relaxed);
            return Grant::Granted(want);
        }
        let ceiling = limit.min(self.leased.load(Ordering::Acquire));
        let mut taken = self.taken.load(Ordering::Acquire);
        loop {
            let grant = want.min(ceiling.saturating_sub(taken));
            if grant == 0 {
                return self.refusal(limit);
            }
            // Compare-and-swap, because two sessions may see the same room: `many_threads_share_one_cell_exactly`.
            match self.taken.compare_exchange_weak(taken, taken + grant, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Grant::Granted(grant),
                Err(now) => taken = now,
            }
        }
    }

    fn refusal(&self, limit: u64) -> Grant {
        if self.committed.load(Ordering::Acquire) >= limit {
            return Grant::Spent;
        }
        let leased = self.leased.load(Ordering::Acquire);
        if leased < limit && self.taken.load(Ordering::Acquire) >= leased {
            Grant::Unleased
        } else {
            Grant::Busy
        }
    }

    /// Ends a reservation of `granted` bytes of which `written` were sent; the rest is given back.
    pub(super) fn settle(&self, granted: u64, written: u64) {
        let written = written.min(granted);
        // Sent first, given back second: in between the cell looks fuller than it is, never emptier.
        self.committed.fetch_add(written, Ordering::AcqRel);
        if written < granted {
            self.taken.fetch_sub(granted - written, Ordering::AcqRel);
        }
    }

    /// Applies another limit to what is already spent.
    pub(super) fn set_limit(&self, limit: Limit) {
        self.limit.store(bytes_of(limit), Ordering::Release);
    }

    /// What may still be taken, in bytes, leases aside; `None` when there is no limit.
    pub(super) fn left(&self) -> Option<u64> {
        match self.limit.load(Ordering::Relaxed) {
            UNLIMITED => None,
            limit => Some(limit.saturating_sub(self.taken())),
        }
    }

    /// Whether the whole limit has been sent.
    pub(super) fn is_spent(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit != UNLIMITED && self.committed() >= limit
    }

    /// Bytes sent and being sent.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Bytes sent.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Whether half of the lease or more is used up, so that it is time to extend it.
    pub(super) fn runs_low(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let leased = self.leased.load(Ordering::Relaxed);
        leased < limit && leased.saturating_sub(self.taken.load(Ordering::Relaxed)) < lease_size(limit) / 2
    }

    /// Whether a reservation would not fail for want of a lease.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let leased = self.leased.load(Ordering::Acquire);
        limit == UNLIMITED || leased >= limit || self.taken() < leased
    }

    /// Up to where the lease should reach next, in bytes spent. It covers what is taken, and never passes the limit.
    pub(super) fn next_lease(&self) -> u64 {
        let limit = self.limit.load(Ordering::Acquire);
        let taken = self.taken();
        taken.saturating_add(lease_size(limit)).min(limit).max(taken)
    }

    /// The lease is on disk: reservations may go up to `until`.
    pub(super) fn extend_lease(&self, until: u64) {
        self.leased.fetch_max(until, Ordering::AcqRel);
    }

    /// Ends the lease at what is taken and returns that. Only while no session holds the cell: a reservation under way
    /// could otherwise still go by the longer lease.
    pub(super) fn end_lease(&self) -> u64 {
        let taken = self.taken();
        self.leased.store(taken, Ordering::Release);
        taken
    }

    /// Ends the lease for good, sessions or not, and returns what was taken when it ended. A reservation that races
    /// with it either is in that number or fails, because the number it compares with is gone.
    pub(super) fn seal(&self) -> u64 {
        self.leased.store(0, Ordering::Release);
        self.taken.swap(SEALED, Ordering::AcqRel)
    }
}

/// How far ahead a cell of this limit is leased, in bytes. It is the most that a crash can lose.
fn lease_size(limit: u64) -> u64 {
    if limit == UNLIMITED {
        return USUAL_LEASE;
    }
    (limit / 16).max(LEAST_LEASE).min(USUAL_LEASE.max(limit / 1024))
}

fn bytes_of(limit: Limit) -> u64 {
    match limit {
        Limit::Bytes(bytes) => bytes.min(UNLIMITED - 1),
        Limit::Unlimited => UNLIMITED,
    }
}

#[cfg(test)]
mod tests;
