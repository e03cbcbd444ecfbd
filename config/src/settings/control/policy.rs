//! `[policy]`: what the control plane admits, and where else manifests come from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reading::Table;
use crate::settings::policy::approvals;
use crate::settings::{Approval, DefaultValue, SettingDoc, setting};
use crate::size::Limit;

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "policy",
        "directory",
        DefaultValue::Absent("policy comes by the API alone"),
        "A directory whose signed manifests and revocations are brought into the log; it is watched.",
    ),
    setting(
        "policy",
        "max_ttl",
        DefaultValue::Toml(r#""24h""#),
        "The longest life of a manifest, whatever it says.",
    ),
    setting(
        "policy",
        "upload_bytes",
        DefaultValue::Toml(r#""250MiB""#),
        "What all sessions of a manifest may upload, through all gateways together, when it is silent.",
    ),
    setting(
        "policy",
        "approval",
        DefaultValue::Toml("[]"),
        "Which agents' manifests need further signatures: tables of `agent` (a name or `*`) and `roles`.",
    ),
];

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPolicy {
    /// A directory that feeds the log.
    pub directory: Option<PathBuf>,
    /// The longest life of a manifest.
    pub max_ttl: Duration,
    /// What all sessions of a manifest may upload when it is silent.
    pub upload_bytes: Limit,
    /// Which manifests need further signatures.
    pub approval: Vec<Approval>,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<ControlPolicy> {
    let checkout = table.maybe("directory", |field| field.path(directory));
    let max_ttl = table.required("max_ttl").and_then(|field| field.duration());
    let upload_bytes = table.required("upload_bytes").and_then(|field| field.limit());
    let approval = table.required("approval").and_then(|field| approvals(&field));
    table.finish();
    Some(ControlPolicy {
        directory: checkout?,
        max_ttl: max_ttl?,
        upload_bytes: upload_bytes?,
        approval: approval?,
    })
}
