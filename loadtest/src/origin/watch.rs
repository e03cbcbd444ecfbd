//! When did the last byte arrive? Noted by every watched connection of the origin, read by the scenario.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The moment of the last byte.
#[derive(Debug)]
pub(crate) struct Watch {
    epoch: Instant,
    last: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { epoch: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Watch {
    /// Notes that bytes have just been read from the kernel.
    pub(crate) fn received(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::SeqCst);
    }

    /// When the last bytes were read.
    pub(crate) fn last(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.last.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_moves_forward() {
        let watch = Watch::default();
        let before = Instant::now();
        watch.received();
        assert!(watch.last() >= before && watch.last() <= Instant::now());
    }
}
