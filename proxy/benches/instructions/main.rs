//! How many instructions does each hot function take? A program to be run under callgrind, by `.ci/instructions`.
//!
//! Everything is made ready, called once so that nothing is cold, and then called many times inside [`measured`], which is
//! all that callgrind counts: it writes one dump whenever that function is left. On standard output stand the names, in
//! the order of the dumps, and how many calls each dump is of. Without callgrind it shows only that everything runs.
//!
//! It measures no time, judges nothing, and opens no socket.
#![allow(clippy::print_stdout, reason = "what it prints is read by a script")]

mod life;
mod origin;
mod policy;
mod wire;

use std::hint::black_box;

fn main() {
    for manifests in [10, 10_000] {
        policy::decisions(manifests);
    }
    wire::heads();
    wire::client_hello();
    life::budget();
    life::registry();
    life::event_line();
    origin::paths();
    origin::signatures();
}

/// Calls `work` once, and then `calls` times where they count.
fn instructions<T>(name: &str, calls: u32, mut work: impl FnMut() -> T) {
    black_box(work());
    measured(calls, &mut || {
        black_box(work());
    });
    println!("{name} {calls}");
}

/// What callgrind counts; it is told of this function by its name.
#[inline(never)]
fn measured(calls: u32, work: &mut dyn FnMut()) {
    for _ in 0..calls {
        work();
    }
}
