//! Where sessions ask for longer leases and the ledger's thread picks the requests up, many at a time.
//!
//! The queue needs no other bound: a cell is in it once or not at all.
//!
//! Never touches the store.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lease::SharedCell;

/// The queue between the sessions and the ledger.
#[derive(Debug, Default)]
pub(super) struct Desk {
    queue: Mutex<Queue>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    cells: Vec<Arc<SharedCell>>,
    closing: bool,
}

/// What the ledger finds on the desk.
#[derive(Debug)]
pub(super) enum Pickup {
    /// These cells ask for longer leases; none, when the time was up.
    Requests(Vec<Arc<SharedCell>>),
    /// The desk closes.
    Closing,
}

impl Desk {
    /// Asks for a longer lease. A desk that is closed answers at once that there is none.
    pub(super) fn ask(&self, cell: &Arc<SharedCell>) {
        if !cell.enters_queue() {
            return;
        }
        let mut queue = self.lock();
        if queue.closing {
            drop(queue);
            cell.leaves_queue();
            cell.not_written();
        } else {
            queue.cells.push(Arc::clone(cell));
            self.asked.notify_one();
        }
    }

    /// Takes all requests, waiting for the first one until `deadline`.
    pub(super) fn pick_up(&self, deadline: Instant) -> Pickup {
        let mut queue = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if queue.closing {
                return Pickup::Closing;
            }
            if !queue.cells.is_empty() || left.is_zero() {
                return Pickup::Requests(std::mem::take(&mut queue.cells));
            }
            queue = self.asked.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for `time` to pass or the desk to close; requests wait too.
    pub(super) fn pause(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut queue = self.lock();
        while !queue.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.asked.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes the desk. Whoever waits for a lease is told that there will be none.
    pub(super) fn close(&self) {
        let waiting = {
            let mut queue = self.lock();
            queue.closing = true;
            std::mem::take(&mut queue.cells)
        };
        self.asked.notify_all();
        for cell in waiting {
            cell.leaves_queue();
            cell.not_written();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements under the lock, so a poisoned one is as good.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
