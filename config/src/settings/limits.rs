//! `[limits]`: how much at once, and how much when a manifest is silent.

use super::{DefaultValue, SettingDoc, setting};
use crate::reading::Table;
use crate::size::Limit;

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "limits",
        "connections",
        DefaultValue::Toml("20000"),
        "Device connections that may be open at once.",
    ),
    setting("limits", "sessions", DefaultValue::Toml("50000"), "Sessions that may be open at once."),
    setting(
        "limits",
        "sessions_per_device",
        DefaultValue::Toml("64"),
        "Sessions of one device that may be open at once.",
    ),
    setting(
        "limits",
        "connects_per_second",
        DefaultValue::Toml("20"),
        "Sessions that one device may open in a second; 0 is unlimited.",
    ),
    setting(
        "limits",
        "handshakes",
        DefaultValue::Toml("512"),
        "TLS handshakes that may be under way at once.",
    ),
    setting(
        "limits",
        "http2_streams",
        DefaultValue::Toml("100"),
        "Sessions that one HTTP/2 connection may carry at once.",
    ),
    setting(
        "limits",
        "upload_bytes_per_session",
        DefaultValue::Toml(r#""10MiB""#),
        "What one session may upload when its manifest is silent.",
    ),
    setting(
        "limits",
        "upload_bytes",
        DefaultValue::Toml(r#""250MiB""#),
        "What all sessions of a manifest may upload when it is silent.",
    ),
];

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Device connections that may be open at once.
    pub connections: u32,
    /// Sessions that may be open at once.
    pub sessions: u32,
    /// Sessions of one device that may be open at once.
    pub sessions_per_device: u32,
    /// Sessions that one device may open in a second; 0 is unlimited.
    pub connects_per_second: u32,
    /// TLS handshakes that may be under way at once.
    pub handshakes: u32,
    /// Sessions that one HTTP/2 connection may carry at once.
    pub http2_streams: u32,
    /// What one session may upload when its manifest is silent.
    pub upload_bytes_per_session: Limit,
    /// What all sessions of a manifest may upload when it is silent.
    pub upload_bytes: Limit,
}

pub(super) fn read(mut table: Table<'_>) -> Option<Limits> {
    let mut count = |key, least: u32| table.required(key).and_then(|field| field.whole(least, MOST));
    let connections = count("connections", 1);
    let sessions = count("sessions", 1);
    let sessions_per_device = count("sessions_per_device", 1);
    let connects_per_second = count("connects_per_second", 0);
    let handshakes = count("handshakes", 1);
    let http2_streams = count("http2_streams", 1);
    let mut limit = |key| table.required(key).and_then(|field| field.limit());
    let upload_bytes_per_session = limit("upload_bytes_per_session");
    let upload_bytes = limit("upload_bytes");
    table.finish();
    Some(Limits {
        connections: connections?,
        sessions: sessions?,
        sessions_per_device: sessions_per_device?,
        connects_per_second: connects_per_second?,
        handshakes: handshakes?,
        http2_streams: http2_streams?,
        upload_bytes_per_session: upload_bytes_per_session?,
        upload_bytes: upload_bytes?,
    })
}

/// More than any machine holds; also what a semaphore can count.
const MOST: u32 = 10_000_000;
