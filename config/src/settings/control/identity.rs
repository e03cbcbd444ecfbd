//! `[control]`: who the control plane is, where it keeps its state, how it logs.

use std::path::{Path, PathBuf};

use crate::identifiers::DeviceId;
use crate::reading::Table;
use crate::settings::{DefaultValue, LogFormat, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "control",
        "name",
        DefaultValue::Absent("the host name"),
        "What events and records call this control plane.",
    ),
    setting(
        "control",
        "state_dir",
        DefaultValue::Toml(r#""/var/lib/portcullis-control""#),
        "Where the log of policy and what is known of the gateways are kept.",
    ),
    setting(
        "control",
        "log",
        DefaultValue::Toml(r#""info""#),
        "What is logged: a level, or levels by module.",
    ),
    setting("control", "log_format", DefaultValue::Toml(r#""text""#), "How it is logged: `text` or `json`."),
];

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlIdentity {
    /// What events and records call this control plane; absent means the host name.
    pub name: Option<String>,
    /// Where the log of policy and what is known of the gateways are kept.
    pub state_dir: PathBuf,
    /// A level, or levels by module.
    pub log: String,
    /// Text for people or JSON for machines.
    pub log_format: LogFormat,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<ControlIdentity> {
    let name = table.maybe("name", |field| field.by(DeviceId::new).map(|name| name.to_string()));
    let state_dir = table.required("state_dir").and_then(|field| field.path(directory));
    let log = table.required("log").and_then(|field| field.line().map(str::to_owned));
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log_format = table.required("log_format").and_then(|field| field.one_of(&formats));
    table.finish();
    Some(ControlIdentity { name: name?, state_dir: state_dir?, log: log?, log_format: log_format? })
}
