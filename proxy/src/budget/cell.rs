//! One scope's budget as a few atomic numbers: its limit, what is taken, what has been sent, up to where it is on disk that
//! it may be spent, and up to where a control plane has handed it to this gateway.
//!
//! The lease on disk never reaches beyond what was handed out, so a reservation looks at the lease alone. Bytes are reserved before they are written, and what a write did not take is given back. At every instant
//! `committed ≤ taken`, and a reservation never lifts `taken` above the limit or above the lease, however many
//! threads race. Nothing here waits, locks or allocates.
//!
//! Never knows whose budget it is, or how a lease grows.

use std::ops::Range;
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

/// The most an unlimited cell is leased ahead, in bytes.
const LONGEST_LEASE: u64 = 1 << 30;

/// The budget of one scope.
#[derive(Debug)]
pub(super) struct Cell {
    limit: AtomicU64,
    taken: AtomicU64,
    committed: AtomicU64,
    leased: AtomicU64,
    /// Up to where it was handed out: [`ALONE`] where the gateway counts alone.
    handed: AtomicU64,
    /// From where on more is asked to be handed out.
    draws_at: AtomicU64,
    /// From where on it is time to ask for something: for a longer lease, or for more to be handed out.
    asks_at: AtomicU64,
}

/// How [`Cell::handed`] reads where nobody hands out anything.
const ALONE: u64 = u64::MAX;

/// How [`Cell::draws_at`] reads while nothing is to be asked for.
pub(super) const NOT_NOW: u64 = u64::MAX;

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
        Self::with(limit, 0, u64::MAX, ALONE)
    }

    /// A cell of which `spent` bytes are on disk as spent, and no more may be before the lease grows.
    pub(super) fn durable(limit: Limit, spent: u64) -> Self {
        let spent = spent.min(SEALED / 2);
        Self::with(limit, spent, spent, ALONE)
    }

    /// A durable cell that several gateways share: what it may spend beyond `spent` has to be handed out first.
    pub(super) fn shared(limit: Limit, spent: u64) -> Self {
        let spent = spent.min(SEALED / 2);
        Self::with(limit, spent, spent, spent)
    }

    fn with(limit: Limit, spent: u64, leased: u64, handed: u64) -> Self {
        let cell = Self {
            limit: AtomicU64::new(bytes_of(limit)),
            taken: AtomicU64::new(spent),
            committed: AtomicU64::new(spent),
            leased: AtomicU64::new(leased),
            handed: AtomicU64::new(handed),
            draws_at: AtomicU64::new(0),
            asks_at: AtomicU64::new(0),
        };
        cell.mark();
        cell
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

    /// Applies another limit to what is already spent. Of the numbers here, `withdrawn` are no longer this cell's.
    pub(super) fn set_limit(&self, limit: Limit, withdrawn: u64) {
        let limit = match bytes_of(limit) {
            UNLIMITED => UNLIMITED,
            bytes => bytes.saturating_add(withdrawn).min(UNLIMITED - 1),
        };
        self.limit.store(limit, Ordering::Release);
        self.mark();
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

    /// Whether it is time to ask for a longer lease, or for more to be handed out.
    pub(super) fn runs_low(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.asks_at.load(Ordering::Relaxed)
    }

    /// Works out from where on it is time to ask: when half of the lease is used up, unless it reaches as far as it may.
    fn mark(&self) {
        let limit = self.limit.load(Ordering::Acquire);
        let leased = self.leased.load(Ordering::Acquire);
        let ahead = lease_size(limit, self.taken());
        let for_lease = if leased < self.reach() { leased.saturating_sub(ahead / 2) } else { NOT_NOW };
        let for_more = if self.may_draw() { self.draws_at.load(Ordering::Acquire) } else { NOT_NOW };
        self.asks_at.store(for_lease.min(for_more), Ordering::Release);
    }

    /// Up to where a lease may reach, in bytes spent.
    fn reach(&self) -> u64 {
        match self.limit.load(Ordering::Acquire) {
            UNLIMITED => UNLIMITED,
            limit => limit.min(self.handed()),
        }
    }

    /// Whether more could be handed out: it is limited, and the limit is not reached.
    pub(super) fn may_draw(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        limit != UNLIMITED && self.handed() < limit
    }

    /// Up to where it was handed out, in bytes spent.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// What was handed out and is not taken; `None` when it needs no handing out.
    pub(super) fn held(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Acquire);
        let handed = self.handed();
        (limit != UNLIMITED && handed != ALONE).then(|| handed.saturating_sub(self.taken()))
    }

    /// The most to have handed out at once, beyond what is needed: as much as is leased ahead, for a crash loses either.
    pub(super) fn largest_part(&self) -> u64 {
        lease_size(self.limit.load(Ordering::Acquire), self.taken())
    }

    /// What could still be handed out before the limit is reached.
    pub(super) fn undrawn(&self) -> u64 {
        self.limit.load(Ordering::Acquire).saturating_sub(self.handed())
    }

    /// It is handed out up to `until`, and more is to be asked for at `draws_at`. Only one thread at a time may say so.
    pub(super) fn hand(&self, until: u64, draws_at: u64) {
        self.handed.store(until, Ordering::Release);
        self.draws_at.store(draws_at, Ordering::Release);
        self.mark();
    }

    /// Whether so much is taken that it is time to ask for more to be handed out.
    pub(super) fn draws(&self) -> bool {
        self.may_draw() && self.taken() >= self.draws_at.load(Ordering::Acquire)
    }

    /// Takes all that is leased and not taken, for good, whatever the limit; says from where to where that was. A reservation
    /// that races with it either was first or fails, because nothing is left under the lease. Not while the lease is being
    /// extended.
    pub(super) fn take_lease(&self) -> Range<u64> {
        let leased = self.leased.load(Ordering::Acquire);
        let mut taken = self.taken.load(Ordering::Acquire);
        while taken < leased {
            match self.taken.compare_exchange_weak(taken, leased, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return taken..leased,
                Err(now) => taken = now,
            }
        }
        taken..taken
    }

    /// Whether the lease has ended for good.
    pub(super) fn is_sealed(&self) -> bool {
        self.taken() >= SEALED
    }

    /// Whether a reservation would not fail for want of a lease.
    pub(super) fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let leased = self.leased.load(Ordering::Acquire);
        limit == UNLIMITED || leased >= limit || self.taken() < leased
    }

    /// Up to where the lease should reach next, in bytes spent. It covers what is taken, and never passes the limit or what
    /// was handed out.
    pub(super) fn next_lease(&self) -> u64 {
        let limit = self.limit.load(Ordering::Acquire);
        let taken = self.taken();
        taken.saturating_add(lease_size(limit, taken)).min(self.reach()).max(taken)
    }

    /// The lease is on disk: reservations may go up to `until`.
    pub(super) fn extend_lease(&self, until: u64) {
        self.leased.fetch_max(until, Ordering::AcqRel);
        self.mark();
    }

    /// Whether the lease could be longer.
    pub(super) fn lease_can_grow(&self) -> bool {
        self.next_lease() > self.leased.load(Ordering::Acquire)
    }

    /// Whether the lease, and not what was handed out, is what a reservation waits for.
    pub(super) fn waits_for_lease(&self) -> bool {
        self.leased.load(Ordering::Acquire) < self.handed()
    }

    /// Ends the lease at what is taken and returns that. Only while no session holds the cell: a reservation under way
    /// could otherwise still go by the longer lease.
    pub(super) fn end_lease(&self) -> u64 {
        let taken = self.taken();
        self.leased.store(taken, Ordering::Release);
        self.mark();
        taken
    }

    /// Ends the lease for good, sessions or not, and returns what was taken when it ended. A reservation that races
    /// with it either is in that number or fails, because the number it compares with is gone.
    pub(super) fn seal(&self) -> u64 {
        self.leased.store(0, Ordering::Release);
        self.taken.swap(SEALED, Ordering::AcqRel)
    }
}

/// How far ahead a cell of this limit is leased when so much of it is taken, in bytes. It is the most that a crash can lose.
fn lease_size(limit: u64, taken: u64) -> u64 {
    if limit == UNLIMITED {
        // Nobody waits for this lease and no limit suffers from it; it keeps the number for a limit that may come. A share of
        // what is taken keeps it as true as that needs, and a fast upload from writing to the disk all the time.
        return (taken / 8).clamp(USUAL_LEASE, LONGEST_LEASE);
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
