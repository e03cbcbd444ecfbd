//! May this session still write upstream? One atomic word asked before every write.
//!
//! A trip must be able to promise that, once it has returned, no further byte is handed to an origin. A flag alone cannot:
//! a writer may have read it just before it was set. So the word also counts the writers that are inside: a writer
//! counts itself in and learns in the same atomic step whether the gate has fallen; the tripping side lets the gate fall and
//! waits until the count is nought. A write to a non-blocking socket takes microseconds, and so does that wait.
//! The gate never blocks a writer and never touches a socket. `races.rs` beside it pins every order of the steps.

use futures_util::task::AtomicWaker;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use config::Reason;

const FALLEN: u32 = 1 << 31;

/// The gate of one session.
#[derive(Debug, Default)]
pub struct Gate {
    word: AtomicU32,
    reason: OnceLock<Reason>,
    owner: AtomicWaker,
}

/// Leave to make one write, given back when dropped.
#[derive(Debug)]
pub struct WriteTurn<'a>(&'a Gate);

impl Gate {
    /// Counts a writer in; `None` once the gate has fallen.
    pub fn enter_write(&self) -> Option<WriteTurn<'_>> {
        let turn = WriteTurn(self);
        if self.word.fetch_add(1, Ordering::SeqCst) & FALLEN == 0 { Some(turn) } else { None }
    }

    /// Lets the gate fall for `reason`. The first reason stays. Returns whether this call was the first.
    pub fn fall(&self, reason: Reason) -> bool {
        let first = self.reason.set(reason).is_ok();
        self.word.fetch_or(FALLEN, Ordering::SeqCst);
        first
    }

    /// Waits until no writer is inside; afterwards, if the gate has fallen, none ever will be.
    pub fn await_writers(&self) {
        let mut spins = 0_u32;
        while self.word.load(Ordering::SeqCst) & !FALLEN != 0 {
            spins += 1;
            if spins < 64 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// Wakes the task that owns the session, so that it closes its sockets.
    pub fn wake(&self) {
        self.owner.wake();
    }

    /// Why the gate fell, if it has.
    #[must_use]
    pub fn fallen(&self) -> Option<Reason> {
        if self.word.load(Ordering::SeqCst) & FALLEN == 0 { None } else { self.reason.get().copied() }
    }

    /// Ready with the reason once the gate has fallen; registers the calling task otherwise.
    pub fn poll_fallen(&self, cx: &mut Context<'_>) -> Poll<Reason> {
        if let Some(reason) = self.fallen() {
            return Poll::Ready(reason);
        }
        self.owner.register(cx.waker());
        match self.fallen() {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }
}

impl Drop for WriteTurn<'_> {
    fn drop(&mut self) {
        self.0.word.fetch_sub(1, Ordering::SeqCst);
    }
}
