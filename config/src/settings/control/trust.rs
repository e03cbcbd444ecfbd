//! `[trust]`: which gateways and devices the control plane believes.

use std::path::{Path, PathBuf};

use super::ControlListen;
use crate::host::Name;
use crate::reading::Table;
use crate::settings::reference::Sections;
use crate::settings::{DefaultValue, IdentityField, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "trust",
        "gateway_ca",
        DefaultValue::Absent("required where gateways connect"),
        "PEM files of the authorities that issue gateway certificates.",
    ),
    setting(
        "trust",
        "device_ca",
        DefaultValue::Absent("required where `listen.agents` is set"),
        "PEM files of the authorities that issue device certificates; with them, only CRLs of authorities named here are taken.",
    ),
    setting(
        "trust",
        "trust_domain",
        DefaultValue::Required,
        "The trust domain of `spiffe://<trust domain>/gateway/<gateway>` and of `…/device/<device>`.",
    ),
    setting(
        "trust",
        "identity",
        DefaultValue::Toml(r#""spiffe""#),
        "Where a device's name stands in its certificate: `spiffe` (URI SAN), `dns` (DNS SAN) or `cn`.",
    ),
    setting(
        "trust",
        "crls",
        DefaultValue::Toml("[]"),
        "Files of revocation lists, PEM or DER, of gateways and devices; a device whose issuer has no fresh list is refused.",
    ),
    setting(
        "trust",
        "crl_max_entries",
        DefaultValue::Toml("1000000"),
        "The longest revocation list that is loaded, in certificates.",
    ),
];

/// `[trust]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTrust {
    /// PEM files of the authorities of gateways; at least one where gateways connect.
    pub gateway_ca: Vec<PathBuf>,
    /// PEM files of the authorities of devices; at least one where agents connect.
    pub device_ca: Vec<PathBuf>,
    /// The SPIFFE trust domain of gateways and devices.
    pub trust_domain: Name,
    /// Where a device's name stands in its certificate.
    pub identity: IdentityField,
    /// Files of revocation lists, beside those that come with the policy.
    pub crls: Vec<PathBuf>,
    /// The longest revocation list that is loaded, in certificates.
    pub crl_max_entries: u32,
}

impl ControlTrust {
    /// Notes every listener for which no authority is named.
    pub(super) fn covers(&self, listen: &ControlListen, sections: &Sections<'_>) {
        if listen.gateways.is_some() && self.gateway_ca.is_empty() {
            sections.refuse::<()>(
                "trust.gateway_ca",
                "no authority is named: no gateway could be believed",
                None,
            );
        }
        if listen.agents.is_some() && self.device_ca.is_empty() {
            sections.refuse::<()>(
                "trust.device_ca",
                "`listen.agents` is set, and no authority of devices",
                None,
            );
        }
    }
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<ControlTrust> {
    let mut authorities = |key| table.maybe(key, |field| field.each(|file| file.path(directory)));
    let (gateway_ca, device_ca) = (authorities("gateway_ca"), authorities("device_ca"));
    let trust_domain = table.required("trust_domain").and_then(|field| field.by(Name::parse_text));
    let rules =
        [("spiffe", IdentityField::Spiffe), ("dns", IdentityField::Dns), ("cn", IdentityField::CommonName)];
    let identity = table.required("identity").and_then(|field| field.one_of(&rules));
    let crls = table.required("crls").and_then(|field| field.each(|file| file.path(directory)));
    let crl_max_entries = table.required("crl_max_entries").and_then(|field| field.whole(1_u32, u32::MAX));
    table.finish();
    Some(ControlTrust {
        gateway_ca: gateway_ca?.unwrap_or_default(),
        device_ca: device_ca?.unwrap_or_default(),
        trust_domain: trust_domain?,
        identity: identity?,
        crls: crls?,
        crl_max_entries: crl_max_entries?,
    })
}
