//! `[tls]`: what the gateway proves itself with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DefaultValue, SettingDoc, setting};
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "tls",
        "certificate",
        DefaultValue::Required,
        "PEM file of the gateway's certificate and its chain.",
    ),
    setting("tls", "key", DefaultValue::Required, "PEM file of its private key."),
    setting(
        "tls",
        "versions",
        DefaultValue::Toml(r#""1.3""#),
        "TLS versions of the device port: `1.3` or `1.2+1.3`.",
    ),
    setting(
        "tls",
        "resumption",
        DefaultValue::Toml(r#""1h""#),
        "For how long a device may return by a ticket before it has to prove anew that it holds its key, at most `24h`; or `off`. Only where TLS 1.3 alone is spoken.",
    ),
    setting(
        "tls",
        "pac_certificate",
        DefaultValue::Absent("the PAC file is served as plain HTTP"),
        "PEM file of the certificate that the PAC address uses.",
    ),
    setting("tls", "pac_key", DefaultValue::Absent("none"), "PEM file of its private key."),
];

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// The versions that devices may speak.
    pub versions: TlsVersions,
    /// For how long a device may return by a ticket; absent means never.
    pub resumption: Option<Duration>,
    /// What the PAC address proves itself with; absent means plain HTTP.
    pub pac: Option<PacTls>,
}

/// The certificate of the PAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacTls {
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// The versions of TLS that devices may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.3 alone.
    Tls13,
    /// 1.2 and 1.3.
    Tls12And13,
}

/// The shortest and the longest life of a ticket.
const TICKET: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<TlsSettings> {
    let certificate = table.required("certificate").and_then(|field| field.path(directory));
    let key = table.required("key").and_then(|field| field.path(directory));
    let versions = [("1.3", TlsVersions::Tls13), ("1.2+1.3", TlsVersions::Tls12And13)];
    let versions = table.required("versions").and_then(|field| field.one_of(&versions));
    let resumption = table.required("resumption").and_then(|field| resumption(&field));
    let pac_certificate = table.maybe("pac_certificate", |field| field.path(directory));
    let pac_key = table.maybe("pac_key", |field| field.path(directory));
    if matches!((&pac_certificate, &pac_key), (Some(Some(_)), Some(None)) | (Some(None), Some(Some(_)))) {
        table.refuse::<()>("`pac_certificate` and `pac_key` go together", None);
    }
    table.finish();
    let pac = pac_certificate?.zip(pac_key?).map(|(certificate, key)| PacTls { certificate, key });
    Some(TlsSettings {
        certificate: certificate?,
        key: key?,
        versions: versions?,
        resumption: resumption?,
        pac,
    })
}

#[allow(clippy::option_option, reason = "off and wrong are two things")]
fn resumption(field: &Field<'_>) -> Option<Option<Duration>> {
    if field.text()? == "off" {
        return Some(None);
    }
    let lifetime = field.duration()?;
    if !TICKET.contains(&lifetime) {
        return field.refuse("a ticket lives from 1s to 24h", Some("`off` is for none"));
    }
    Some(Some(lifetime))
}
