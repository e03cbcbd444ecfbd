//! How soon authority ends: revocation in every state of a session, expiry, narrowing, a lost policy feed.

mod expiry;
mod many;
mod narrowing;
mod races;
mod staleness;
mod states;
mod targets;
