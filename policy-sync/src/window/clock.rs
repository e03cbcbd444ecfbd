//! What time it is, for budgets: a time that no step of the wall clock can hurry.
//!
//! A window ends, and a full budget begins, only when two clocks agree that it has: the wall clock, and a steady clock
//! that set out from the wall clock when the process started. A step forward leaves the steady clock behind, a step
//! back the wall clock. The steady clock stands still while a virtual machine is paused, so it also catches up with
//! the newest `issued_at` that a signed manifest has shown: that is another machine's clock, and it is remembered on
//! disk.
//!
//! Never judges whether a manifest is in force; that is the policy's, by the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::Moment;

/// The clock of the budgets.
#[derive(Debug)]
pub struct Clock {
    started_at: i64,
    started: Instant,
    witnessed: AtomicI64,
}

impl Clock {
    /// Sets out at `now` (Unix seconds), `witnessed` being what was remembered.
    #[must_use]
    pub fn new(now: i64, witnessed: i64) -> Self {
        Self { started_at: now, started: Instant::now(), witnessed: AtomicI64::new(witnessed) }
    }

    /// The moment, by a wall clock that says `now` and a manifest that says when it was issued.
    pub fn read(&self, now: i64, issued_at: i64) -> Moment {
        self.read_after(self.started.elapsed(), now, issued_at)
    }

    fn read_after(&self, elapsed: Duration, now: i64, issued_at: i64) -> Moment {
        // A signer's clock that runs ahead of ours proves no more than ours does.
        let seen = issued_at.min(now);
        let witnessed = self.witnessed.fetch_max(seen, Ordering::AcqRel).max(seen);
        let steady = self.started_at.saturating_add_unsigned(elapsed.as_secs());
        Moment { proven: now.min(steady.max(witnessed)), witnessed }
    }

    /// The newest time that a signed manifest has proven.
    #[must_use]
    pub fn witnessed(&self) -> i64 {
        self.witnessed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Clock;

    #[test]
    fn the_moment_is_what_both_clocks_have_reached() {
        for (what, elapsed, now, issued_at, expected) in [
            ("no step", 100, 1100, 1000, 1100),
            ("a step forward", 100, 9000, 1000, 1100),
            ("a step back", 100, 500, 400, 500),
            ("a paused machine, and a manifest signed since", 100, 9000, 8000, 8000),
            ("a signer ahead of us", 100, 1100, 9000, 1100),
        ] {
            let clock = Clock::new(1000, 0);
            let moment = clock.read_after(Duration::from_secs(elapsed), now, issued_at);
            assert_eq!(moment.proven, expected, "{what}");
        }
    }

    #[test]
    fn what_was_witnessed_once_stays_witnessed() {
        let clock = Clock::new(1000, 5000);
        assert_eq!(clock.read(1000, 900).witnessed, 5000);
        assert_eq!(clock.read(8000, 7000).witnessed, 7000);
        assert_eq!(clock.witnessed(), 7000);
    }
}
