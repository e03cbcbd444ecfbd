//! How long to wait before the next attempt: at once first, then longer and longer, and never in step with others.

use std::time::Duration;

/// The wait after the first attempt that failed twice.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double, each somewhere between half of it and all of it.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// Begins anew: the next wait is none.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let doublings = self.failed;
        self.failed = self.failed.saturating_add(1);
        let Some(doublings) = doublings.checked_sub(1) else { return Duration::ZERO };
        let whole = SHORTEST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST);
        whole.mul_f64(0.5 + f64::from(random()) / f64::from(u8::MAX) / 2.0)
    }
}

fn random() -> u8 {
    let mut byte = [0];
    // Without random bytes the waits are as good, only less scattered.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_begin_at_nothing_double_and_stay_below_five_seconds() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(), Duration::ZERO);
        for expected in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let expected = Duration::from_millis(expected);
            let wait = backoff.next();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
        }
        backoff.reset();
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}
