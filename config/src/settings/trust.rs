//! `[trust]`: whom the gateway believes.

use std::path::{Path, PathBuf};

use super::{DefaultValue, SettingDoc, setting};
use crate::host::Name;
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "trust",
        "device_ca",
        DefaultValue::Required,
        "PEM files of the authorities that issue device certificates.",
    ),
    setting(
        "trust",
        "crls",
        DefaultValue::Toml("[]"),
        "Files of revocation lists, PEM or DER; a device whose issuer has no fresh list is refused.",
    ),
    setting(
        "trust",
        "identity",
        DefaultValue::Toml(r#""spiffe""#),
        "Where the device's name stands in its certificate: `spiffe` (URI SAN), `dns` (DNS SAN) or `cn`.",
    ),
    setting(
        "trust",
        "trust_domain",
        DefaultValue::Absent("required where `identity` is `spiffe`"),
        "The trust domain of `spiffe://<trust domain>/device/<device>`.",
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
pub struct TrustSettings {
    /// PEM files of the authorities; at least one.
    pub device_ca: Vec<PathBuf>,
    /// Files of revocation lists, beside those that come with the policy.
    pub crls: Vec<PathBuf>,
    /// Where the device's name stands in its certificate.
    pub identity: IdentityField,
    /// The SPIFFE trust domain; present when `identity` is `spiffe`.
    pub trust_domain: Option<Name>,
    /// The longest revocation list that is loaded, in certificates.
    pub crl_max_entries: u32,
}

/// Where the device's name stands in its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityField {
    /// In a URI SAN, `spiffe://<trust domain>/device/<device>[/agent/<agent>]`.
    Spiffe,
    /// In a DNS SAN.
    Dns,
    /// In the common name of the subject.
    CommonName,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<TrustSettings> {
    let device_ca = table.required("device_ca").and_then(|field| authorities(&field, directory));
    let crls = table.required("crls").and_then(|field| field.each(|file| file.path(directory)));
    let rules =
        [("spiffe", IdentityField::Spiffe), ("dns", IdentityField::Dns), ("cn", IdentityField::CommonName)];
    let identity = table.required("identity").and_then(|field| field.one_of(&rules));
    let trust_domain = table.maybe("trust_domain", |field| field.by(Name::parse_text));
    if identity == Some(IdentityField::Spiffe) && trust_domain == Some(None) {
        table.refuse::<()>("`trust_domain` is missing", Some("identity \"spiffe\" needs it"));
    }
    let crl_max_entries = table.required("crl_max_entries").and_then(|field| field.whole(1_u32, u32::MAX));
    table.finish();
    Some(TrustSettings {
        device_ca: device_ca?,
        crls: crls?,
        identity: identity?,
        trust_domain: trust_domain?,
        crl_max_entries: crl_max_entries?,
    })
}

fn authorities(field: &Field<'_>, directory: &Path) -> Option<Vec<PathBuf>> {
    let files = field.each(|file| file.path(directory))?;
    if files.is_empty() {
        field.refuse("the list is empty: no device could be believed", None)
    } else {
        Some(files)
    }
}
