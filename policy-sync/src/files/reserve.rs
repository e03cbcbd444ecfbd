//! Descriptors set aside, so that a revocation can still be read when the process has no other left.
//!
//! Whoever exhausts the descriptors must not thereby keep a revocation out. A few are held open on nothing; when opening
//! fails for want of them they are given up, the attempt is made again, and they are taken back as soon as they can be.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

/// One for a folder that is listed and one for a file in it, each with one to spare.
const HELD: usize = 4;

static RESERVE: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Makes an attempt that needs a descriptor, if need be with the ones set aside.
///
/// # Errors
/// The attempt's own.
pub(crate) fn lend<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut reserve = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match attempt() {
        Err(error) if is_exhausted(&error) => {
            reserve.clear();
            attempt()
        }
        outcome => outcome,
    };
    while reserve.len() < HELD {
        match File::open("/dev/null") {
            Ok(held) => reserve.push(held),
            // None to be had now; the next attempt tries again.
            Err(_) => break,
        }
    }
    outcome
}

/// EMFILE (24) and ENFILE (23), which the standard library has no kinds for.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
