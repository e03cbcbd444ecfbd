//! `[policy]`: where the policy comes from, whose keys it needs, and how old it may become.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control_link::{self, ControlEndpoint, ControlLink};
use super::nats::{self, NatsLink, NatsServers};
use super::{DefaultValue, SettingDoc, setting};
use crate::identifiers::AgentName;
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "policy",
        "source",
        DefaultValue::Required,
        "Where signed manifests and revocations come from: `dir:PATH`, a directory that is watched; `control:URL`, a control plane; `nats:URLS`, a NATS cluster.",
    ),
    setting(
        "policy",
        "keys",
        DefaultValue::Required,
        "TOML file of the public keys that may sign, with their roles.",
    ),
    setting(
        "policy",
        "max_staleness",
        DefaultValue::Toml(r#""60s""#),
        "How long after losing its source the gateway still opens sessions.",
    ),
    setting(
        "policy",
        "cut_after",
        DefaultValue::Toml(r#""15m""#),
        "How long after losing its source the gateway still carries the sessions that are open.",
    ),
    setting(
        "policy",
        "max_ttl",
        DefaultValue::Toml(r#""24h""#),
        "The longest life of a manifest, whatever it says.",
    ),
    setting(
        "policy",
        "allow_report_mode",
        DefaultValue::Toml("false"),
        "Whether manifests in report mode are let through; otherwise they are enforced.",
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
pub struct PolicySettings {
    /// Where signed manifests and revocations come from.
    pub source: PolicySource,
    /// TOML file of the public keys that may sign.
    pub keys: PathBuf,
    /// How long after losing its source the gateway still opens sessions.
    pub max_staleness: Duration,
    /// How long after losing its source the gateway still carries open sessions; not less than `max_staleness`.
    pub cut_after: Duration,
    /// The longest life of a manifest.
    pub max_ttl: Duration,
    /// Whether manifests in report mode are let through.
    pub allow_report_mode: bool,
    /// Which manifests need further signatures.
    pub approval: Vec<Approval>,
}

/// Where signed manifests and revocations come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A directory, watched.
    Dir(PathBuf),
    /// A control plane, followed over mutual TLS.
    Control(ControlLink),
    /// A NATS cluster on which control planes write.
    Nats(NatsLink),
}

/// A source by its name alone; how to reach it stands in a section of its own.
#[derive(Debug, Clone)]
pub(super) enum NamedSource {
    Dir(PathBuf),
    Control(ControlEndpoint),
    Nats(NatsServers),
}

impl NamedSource {
    /// Whether other gateways have the same source, so that there is somebody to count budgets with.
    pub(super) const fn is_shared(&self) -> bool {
        match self {
            Self::Dir(_) => false,
            Self::Control(_) | Self::Nats(_) => true,
        }
    }
}

/// `[policy]` without its source.
#[derive(Debug)]
pub(super) struct Rules {
    keys: PathBuf,
    max_staleness: Duration,
    cut_after: Duration,
    max_ttl: Duration,
    allow_report_mode: bool,
    approval: Vec<Approval>,
}

impl Rules {
    pub(super) fn from(self, source: PolicySource) -> PolicySettings {
        let Self { keys, max_staleness, cut_after, max_ttl, allow_report_mode, approval } = self;
        PolicySettings { source, keys, max_staleness, cut_after, max_ttl, allow_report_mode, approval }
    }
}

/// A second stage of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Whose manifests; `None` for every agent's.
    pub agent: Option<AgentName>,
    /// The roles of which each must sign, with distinct keys; at least one.
    pub roles: Vec<ApprovalRole>,
}

/// A role whose signature a manifest can need beside its author's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalRole {
    /// The manager's.
    Approver,
    /// The security team's.
    Security,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<(NamedSource, Rules)> {
    let source = table.required("source").and_then(|field| named_source(&field, directory));
    let keys = table.required("keys").and_then(|field| field.path(directory));
    let max_staleness = table.required("max_staleness").and_then(|field| field.duration());
    let cut_after = table.required("cut_after").and_then(|field| {
        let cut_after = field.duration()?;
        if max_staleness.is_some_and(|stale| cut_after < stale) {
            return field.refuse("`cut_after` is shorter than `max_staleness`", None);
        }
        Some(cut_after)
    });
    let max_ttl = table.required("max_ttl").and_then(|field| field.duration());
    let allow_report_mode = table.required("allow_report_mode").and_then(|field| field.boolean());
    let approval = table.required("approval").and_then(|field| approvals(&field));
    table.finish();
    let rules = Rules {
        keys: keys?,
        max_staleness: max_staleness?,
        cut_after: cut_after?,
        max_ttl: max_ttl?,
        allow_report_mode: allow_report_mode?,
        approval: approval?,
    };
    Some((source?, rules))
}

fn named_source(field: &Field<'_>, directory: &Path) -> Option<NamedSource> {
    match field.line()?.split_once(':') {
        Some(("dir", path)) if !path.is_empty() => Some(NamedSource::Dir(directory.join(path))),
        Some(("control", url)) => control_link::endpoint(field, url).map(NamedSource::Control),
        Some(("nats", urls)) => nats::servers(field, urls).map(NamedSource::Nats),
        _ => field.refuse("expected dir:PATH, control:https://HOST:PORT or nats:tls://HOST:PORT", None),
    }
}

/// Which manifests need further signatures.
pub(super) fn approvals(field: &Field<'_>) -> Option<Vec<Approval>> {
    field.each(|entry| approval(&entry))
}

fn approval(field: &Field<'_>) -> Option<Approval> {
    let mut table = field.table()?;
    let agent = table.required("agent").and_then(|field| match field.text()? {
        "*" => Some(None),
        _ => field.parsed::<AgentName>().map(Some),
    });
    let names = [("approver", ApprovalRole::Approver), ("security", ApprovalRole::Security)];
    let roles = table.required("roles").and_then(|field| {
        let roles = field.each(|role| role.one_of(&names))?;
        if roles.is_empty() {
            field.refuse("the list is empty: nothing would be needed", None)
        } else {
            Some(roles)
        }
    });
    table.finish();
    Some(Approval { agent: agent?, roles: roles? })
}
