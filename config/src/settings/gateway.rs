//! `[gateway]`: who the gateway is, where it keeps its state, how it logs.

use std::path::{Path, PathBuf};

use super::{DefaultValue, SettingDoc, setting};
use crate::identifiers::DeviceId;
use crate::reading::Table;

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "gateway",
        "name",
        DefaultValue::Absent("the host name"),
        "What events and receipts call this gateway.",
    ),
    setting(
        "gateway",
        "state_dir",
        DefaultValue::Toml(r#""/var/lib/portcullis""#),
        "Where the last good policy, its high-water marks and the upload budgets are kept.",
    ),
    setting("gateway", "workers", DefaultValue::Toml("0"), "Threads that carry sessions; 0 is one per core."),
    setting(
        "gateway",
        "log",
        DefaultValue::Toml(r#""info""#),
        "What is logged: a level, or levels by module.",
    ),
    setting("gateway", "log_format", DefaultValue::Toml(r#""text""#), "How it is logged: `text` or `json`."),
];

/// `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayIdentity {
    /// What events and receipts call this gateway; absent means the host name.
    pub name: Option<String>,
    /// Where the last good policy, its high-water marks and the upload budgets are kept.
    pub state_dir: PathBuf,
    /// Threads that carry sessions; 0 is one per core.
    pub workers: u32,
    /// A level, or levels by module (`info,proxy::tunnel=debug`).
    pub log: String,
    /// Text for people or JSON for machines.
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<GatewayIdentity> {
    let name = table.maybe("name", |field| field.by(DeviceId::new).map(|name| name.to_string()));
    let state_dir = table.required("state_dir").and_then(|field| field.path(directory));
    let workers = table.required("workers").and_then(|field| field.whole(0_u32, 1024));
    let log = table.required("log").and_then(|field| field.line().map(str::to_owned));
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log_format = table.required("log_format").and_then(|field| field.one_of(&formats));
    table.finish();
    Some(GatewayIdentity {
        name: name?,
        state_dir: state_dir?,
        workers: workers?,
        log: log?,
        log_format: log_format?,
    })
}
