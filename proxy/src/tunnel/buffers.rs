//! Where does a relay's buffer come from? From a small pool per thread, for as long as data flows and not a moment longer.
//!
//! An idle tunnel holds no buffer at all: it borrows one when its socket becomes readable and gives it back before it
//! waits again. The pool is bounded; what does not fit is freed.

use std::cell::RefCell;

/// The most that a relay reads at once, in bytes: eight full TLS records.
pub(super) const READ: usize = 128 * 1024;

/// Size of a relay buffer in bytes. What is read encrypted is decrypted in the same buffer, which takes some room
/// ([`crate::downstream::BACKLOG`]).
pub(super) const SIZE: usize = READ + crate::downstream::BACKLOG;

/// Buffers that a thread keeps at hand.
const KEPT: usize = 4;

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes with arbitrary content.
pub(super) fn take() -> Box<[u8]> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE].into_boxed_slice())
}

/// Gives a buffer back.
pub(super) fn give(buffer: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < KEPT {
            pool.push(buffer);
        }
    });
}
