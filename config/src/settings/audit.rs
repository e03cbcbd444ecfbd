//! `[audit]`: where events go, and what happens when they cannot.

use std::path::{Path, PathBuf};

use super::{DefaultValue, SettingDoc, setting};
use crate::reading::Table;

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "audit",
        "file",
        DefaultValue::Toml(r#""events.jsonl""#),
        "File of events, one a line; `-` is standard output.",
    ),
    setting(
        "audit",
        "on_failure",
        DefaultValue::Toml(r#""refuse""#),
        "When events cannot be written: `refuse` new sessions, or only `count` what is lost.",
    ),
];

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where events go.
    pub sink: AuditSink,
    /// What happens when they cannot be written.
    pub on_failure: AuditFailure,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditSink {
    /// To standard output.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
}

/// What happens when events cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFailure {
    /// No new session is allowed.
    Refuse,
    /// What is lost is counted.
    Count,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<AuditSettings> {
    let sink = sink(&mut table, directory);
    let choices = [("refuse", AuditFailure::Refuse), ("count", AuditFailure::Count)];
    let on_failure = table.required("on_failure").and_then(|field| field.one_of(&choices));
    table.finish();
    Some(AuditSettings { sink: sink?, on_failure: on_failure? })
}

/// `file`, which every program has.
pub(super) fn sink(table: &mut Table<'_>, directory: &Path) -> Option<AuditSink> {
    table.required("file").and_then(|field| match field.text()? {
        "-" => Some(AuditSink::Stdout),
        _ => field.path(directory).map(AuditSink::File),
    })
}
