//! What must not work: known attacks on forward proxies, each through a real socket with real certificates.
//!
//! Every table has rows that must be refused and, where over-blocking was somebody's bug, rows that must pass.

mod addresses;
mod admin;
mod allowlist;
mod first_flight;
mod framing;
mod http2;
mod identity;
mod leaks;
mod policy;
mod rebinding;
mod resumption;
mod revocation_lists;
mod smuggling;
mod targets;
mod uploads;
