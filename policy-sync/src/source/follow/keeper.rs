//! The thread that writes down what was followed, so that no disk stands between one revocation and the next.
//!
//! What is handed over while it writes is written together with the next sync. A ticket says when what it was given for
//! is on the disk; nothing is reported as enforced before that.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use crate::source::memory::{Durability, Memory, Writing};

/// How soon what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When something was handed over: a later one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Ticket(u64);

#[derive(Default)]
struct Desk {
    writing: Writing,
    ticket: Ticket,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    handed_over: Condvar,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    kept: watch::Receiver<Ticket>,
    last: Ticket,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(memory: Memory) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (done, kept) = watch::channel(Ticket::default());
        let desk = shared.clone();
        let thread =
            thread::Builder::new().name("policy-disk".into()).spawn(move || work(memory, &desk, &done))?;
        Ok(Self { shared, kept, last: Ticket::default(), thread: Some(thread) })
    }

    /// Hands over what is to be written. Never waits for the disk.
    pub(super) fn put(&mut self, writing: Writing) -> Ticket {
        if !writing.is_empty() {
            self.last = Ticket(self.last.0 + 1);
            let mut desk = self.shared.desk();
            desk.writing.absorb(writing);
            desk.ticket = self.last;
            drop(desk);
            self.shared.handed_over.notify_one();
        }
        self.last
    }

    /// How many files wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.shared.desk().writing.files.len()
    }

    /// What is on the disk by now.
    pub(super) fn kept(&self) -> Ticket {
        *self.kept.borrow()
    }

    /// Returns when more has reached the disk.
    pub(super) async fn changed(&mut self) {
        if self.kept.changed().await.is_err() {
            // The thread is gone: nothing reaches the disk any more, and nothing is reported.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.desk().stop = true;
        self.shared.handed_over.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn work(mut memory: Memory, shared: &Shared, done: &watch::Sender<Ticket>) {
    let mut durability = Durability::Durable;
    loop {
        let mut desk = shared.desk();
        while desk.writing.is_empty() && !desk.stop {
            if durability == Durability::Behind {
                let waited = shared.handed_over.wait_timeout(desk, RETRY);
                desk = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            desk = shared.handed_over.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        let (writing, ticket, stop) = (std::mem::take(&mut desk.writing), desk.ticket, desk.stop);
        drop(desk);
        durability = memory.write(writing);
        if durability == Durability::Durable {
            done.send_replace(ticket);
        }
        if stop {
            return;
        }
    }
}
