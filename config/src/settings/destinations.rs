//! `[destinations]`: what nobody may reach, and which internal networks may be reached at all.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{DefaultValue, SettingDoc, setting};
use crate::pattern::{DefaultPorts, Pattern};
use crate::reading::Table;

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "destinations",
        "deny",
        DefaultValue::Toml("[]"),
        "Patterns that no manifest can allow; without port they mean every port.",
    ),
    setting(
        "destinations",
        "internal",
        DefaultValue::Toml("[]"),
        "Networks of internal services: special-purpose addresses outside of them are never dialled.",
    ),
    setting(
        "destinations",
        "metadata_override",
        DefaultValue::Toml("[]"),
        "Addresses of cloud metadata services that may be dialled all the same.",
    ),
];

/// `[destinations]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSettings {
    /// What no manifest can allow.
    pub deny: Vec<Pattern>,
    /// Networks of internal services.
    pub internal: Vec<IpNet>,
    /// Metadata addresses that may be dialled all the same.
    pub metadata_override: Vec<IpAddr>,
}

pub(super) fn read(mut table: Table<'_>) -> Option<DestinationSettings> {
    let pattern = |text: &str| Pattern::parse(text, DefaultPorts::Every);
    let deny = table.required("deny").and_then(|field| field.each(|entry| entry.by(pattern)));
    let internal = table.required("internal").and_then(|field| field.each(|network| network.network()));
    let overrides = table.required("metadata_override").and_then(|field| field.each(|address| address.ip()));
    table.finish();
    Some(DestinationSettings { deny: deny?, internal: internal?, metadata_override: overrides? })
}
