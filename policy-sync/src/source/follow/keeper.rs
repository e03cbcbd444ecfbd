//! The thread that writes down what was followed, so that no disk stands between one revocation and the next.
//!
//! What is handed over while it writes is written together with the next sync. A ticket says when what it was given for
//! is on the disk; nothing is reported as enforced before that. A revocation is handed over before it is put in force, so
//! that the disk works while the sessions are cut; neither waits for the other.

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
struct Waiting {
    writing: Writing,
    /// The last one that was given out.
    ticket: Ticket,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    handed_over: Condvar,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where things to be written are handed over.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Shared>);

impl Desk {
    /// Hands over what is to be written. Never waits for the disk. The ticket is that of everything handed over until now.
    pub(super) fn put(&self, writing: Writing) -> Ticket {
        let mut waiting = self.0.waiting();
        if writing.is_empty() {
            return waiting.ticket;
        }
        let ticket = Ticket(waiting.ticket.0 + 1);
        waiting.writing.absorb(writing);
        waiting.ticket = ticket;
        drop(waiting);
        self.0.handed_over.notify_one();
        ticket
    }
}

pub(super) struct Keeper {
    desk: Desk,
    kept: watch::Receiver<Ticket>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    pub(super) fn start(memory: Memory) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (done, kept) = watch::channel(Ticket::default());
        let desk = Desk(shared.clone());
        let thread =
            thread::Builder::new().name("policy-disk".into()).spawn(move || work(memory, &shared, &done))?;
        Ok(Self { desk, kept, thread: Some(thread) })
    }

    /// Where things to be written are handed over.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// How many files wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.desk.0.waiting().writing.files.len()
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
        self.desk.0.waiting().stop = true;
        self.desk.0.handed_over.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn work(mut memory: Memory, shared: &Shared, done: &watch::Sender<Ticket>) {
    let mut durability = Durability::Durable;
    loop {
        let mut waiting = shared.waiting();
        while waiting.writing.is_empty() && !waiting.stop {
            if durability == Durability::Behind {
                let waited = shared.handed_over.wait_timeout(waiting, RETRY);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                break;
            }
            waiting = shared.handed_over.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (writing, ticket, stop) = (std::mem::take(&mut waiting.writing), waiting.ticket, waiting.stop);
        drop(waiting);
        durability = memory.write(writing);
        if durability == Durability::Durable {
            done.send_replace(ticket);
        }
        if stop {
            return;
        }
    }
}
