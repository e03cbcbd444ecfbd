//! What has arrived at the origin, and when the last of it? Noted by its connections, read by the scenario.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the origin has seen: connections, bytes, and the moment of the last byte of a watched connection.
#[derive(Debug)]
pub(crate) struct Watch {
    epoch: Instant,
    last: AtomicU64,
    accepted: AtomicU64,
    over: AtomicU64,
    bytes: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            last: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            over: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Watch {
    /// Notes that bytes have just been read from the kernel.
    pub(crate) fn received(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::SeqCst);
    }

    /// Notes a connection.
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that a connection is over: nothing more is read from it.
    pub(crate) fn over(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes bytes of whatever connection, orders included.
    pub(crate) fn took(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// Everything that has arrived up to now.
    pub(crate) fn seen(&self) -> Seen {
        // In this order, so that a connection that is over is one that was accepted.
        let over = self.over.load(Ordering::SeqCst);
        Seen {
            connections: self.accepted.load(Ordering::SeqCst),
            over,
            bytes: self.bytes.load(Ordering::SeqCst),
        }
    }

    /// When the last bytes were read.
    pub(crate) fn last(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.last.load(Ordering::SeqCst))
    }
}

/// What has arrived at the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Connections that were accepted.
    pub(crate) connections: u64,
    /// Those of them that are over.
    pub(crate) over: u64,
    /// Bytes that were read, over all connections.
    pub(crate) bytes: u64,
}

impl Seen {
    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        self.connections.saturating_sub(self.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_adds_up() {
        let watch = Watch::default();
        watch.accepted();
        watch.accepted();
        watch.took(9);
        watch.took(1);
        watch.over();
        assert_eq!(watch.seen(), Seen { connections: 2, over: 1, bytes: 10 });
        assert_eq!(watch.seen().open(), 1);
    }

    #[test]
    fn the_last_byte_moves_forward() {
        let watch = Watch::default();
        let before = Instant::now();
        watch.received();
        assert!(watch.last() >= before && watch.last() <= Instant::now());
    }
}
