//! `[deadlines]`: how long each stage may take.

use std::time::Duration;

use super::{DefaultValue, SettingDoc, setting};
use crate::reading::Table;

pub(super) const DOCS: &[SettingDoc] = &[
    setting("deadlines", "handshake", DefaultValue::Toml(r#""5s""#), "TLS handshake of a device."),
    setting(
        "deadlines",
        "head",
        DefaultValue::Toml(r#""10s""#),
        "Request head, from its first byte to its last.",
    ),
    setting("deadlines", "dns", DefaultValue::Toml(r#""2s""#), "Look-up of a name."),
    setting(
        "deadlines",
        "dial",
        DefaultValue::Toml(r#""10s""#),
        "Connecting to a destination, over all its addresses.",
    ),
    setting(
        "deadlines",
        "first_flight",
        DefaultValue::Toml(r#""5s""#),
        "First bytes of a tunnel that has to be TLS.",
    ),
    setting("deadlines", "idle", DefaultValue::Toml(r#""5m""#), "A session in which nothing moves."),
    setting("deadlines", "session", DefaultValue::Toml(r#""12h""#), "The longest life of a session."),
    setting("deadlines", "drain", DefaultValue::Toml(r#""30s""#), "From SIGTERM until what is left is cut."),
    setting(
        "deadlines",
        "report",
        DefaultValue::Toml(r#""60s""#),
        "Between the periodic events of a long session.",
    ),
];

/// `[deadlines]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlines {
    /// TLS handshake of a device.
    pub handshake: Duration,
    /// Request head, from its first byte to its last.
    pub head: Duration,
    /// Look-up of a name.
    pub dns: Duration,
    /// Connecting to a destination, over all its addresses.
    pub dial: Duration,
    /// First bytes of a tunnel that has to be TLS.
    pub first_flight: Duration,
    /// A session in which nothing moves.
    pub idle: Duration,
    /// The longest life of a session.
    pub session: Duration,
    /// From the signal to stop until what is left is cut.
    pub drain: Duration,
    /// Between the periodic events of a long session.
    pub report: Duration,
}

pub(super) fn read(mut table: Table<'_>) -> Option<Deadlines> {
    let mut duration = |key| table.required(key).and_then(|field| field.duration());
    let handshake = duration("handshake");
    let head = duration("head");
    let dns = duration("dns");
    let dial = duration("dial");
    let first_flight = duration("first_flight");
    let idle = duration("idle");
    let session = duration("session");
    let drain = duration("drain");
    let report = duration("report");
    table.finish();
    Some(Deadlines {
        handshake: handshake?,
        head: head?,
        dns: dns?,
        dial: dial?,
        first_flight: first_flight?,
        idle: idle?,
        session: session?,
        drain: drain?,
        report: report?,
    })
}
