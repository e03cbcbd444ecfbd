//! `[control]` of a gateway: how it reaches its control plane, and what both prove themselves with.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{DefaultValue, SettingDoc, TlsSettings, setting};
use crate::destination::Destination;
use crate::reading::{Field, Table};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "control",
        "ca",
        DefaultValue::Absent("required with `control:`"),
        "PEM file of the authorities that issue the control plane's certificate.",
    ),
    setting(
        "control",
        "certificate",
        DefaultValue::Absent("that of `[tls]`"),
        "PEM file of the certificate that the gateway shows to the control plane, with its chain.",
    ),
    setting("control", "key", DefaultValue::Absent("that of `[tls]`"), "PEM file of its private key."),
];

/// A control plane, and how a gateway reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlLink {
    /// Where its listener for gateways is.
    pub endpoint: ControlEndpoint,
    /// PEM file of the authorities of its certificate.
    pub ca: PathBuf,
    /// PEM file of the gateway's own certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// `https://host:port`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlEndpoint(Destination);

impl ControlEndpoint {
    /// The host and port to connect to; the host is what the certificate has to say.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.0
    }
}

impl fmt::Display for ControlEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

/// Reads the URL behind `control:`.
pub(super) fn endpoint(field: &Field<'_>, url: &str) -> Option<ControlEndpoint> {
    let Some(authority) = url.strip_prefix("https://") else {
        return field.refuse("expected control:https://HOST:PORT", None);
    };
    match authority.strip_suffix('/').unwrap_or(authority).parse::<Destination>() {
        Ok(destination) => Some(ControlEndpoint(destination)),
        Err(why) => field.refuse(&format!("expected control:https://HOST:PORT: {why}"), None),
    }
}

/// The section as it stands, its defaults open.
#[derive(Debug)]
pub(super) struct Files {
    ca: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    pub(super) fn reach(self, endpoint: ControlEndpoint, tls: &TlsSettings) -> ControlLink {
        let own = || (tls.certificate.clone(), tls.key.clone());
        let (certificate, key) = self.identity.unwrap_or_else(own);
        ControlLink { endpoint, ca: self.ca, certificate, key }
    }
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<Files> {
    let ca = table.required("ca").and_then(|field| field.path(directory));
    let identity = certificate_and_key(&mut table, directory);
    table.finish();
    Some(Files { ca: ca?, identity: identity? })
}

/// `certificate` and `key`, which go together.
#[allow(clippy::option_option, reason = "absent, wrong and right are three things")]
pub(super) fn certificate_and_key(
    table: &mut Table<'_>,
    directory: &Path,
) -> Option<Option<(PathBuf, PathBuf)>> {
    let certificate = table.maybe("certificate", |field| field.path(directory));
    let key = table.maybe("key", |field| field.path(directory));
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Some((certificate, key))),
        (None, None) => Some(None),
        (Some(_), None) => table.refuse_below("certificate", "`certificate` and `key` go together", None),
        (None, Some(_)) => table.refuse_below("key", "`certificate` and `key` go together", None),
    }
}
