//! Does the load tool say what is so? The real tool against the real gateway, briefly: what it proves, never how fast.

mod proofs;
mod running;
mod scenarios;
mod tool;
