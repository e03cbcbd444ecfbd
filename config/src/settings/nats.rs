//! `[nats]`: how a NATS cluster is reached, by gateways and control planes alike.

use std::path::{Path, PathBuf};

use super::control::{KeyFile, key_file};
use super::control_link::certificate_and_key;
use super::{DefaultValue, SettingDoc, setting};
use crate::destination::Destination;
use crate::reading::{Field, Table};

const CA: SettingDoc = setting(
    "nats",
    "ca",
    DefaultValue::Absent("the roots of the system"),
    "PEM file of the authorities that issue the certificates of the NATS servers.",
);
const CERTIFICATE: SettingDoc = setting(
    "nats",
    "certificate",
    DefaultValue::Absent("none is shown"),
    "PEM file of the certificate that is shown to the NATS servers, with its chain.",
);
const KEY: SettingDoc = setting("nats", "key", DefaultValue::Absent("none"), "PEM file of its private key.");
const CREDENTIALS: SettingDoc = setting(
    "nats",
    "credentials",
    DefaultValue::Absent("none are sent"),
    "File of NATS credentials (`.creds`).",
);
const PREFIX: SettingDoc = setting(
    "nats",
    "prefix",
    DefaultValue::Toml(r#""portcullis""#),
    "The first part of the name of every subject, stream and bucket.",
);

pub(super) const CONTROL_DOCS: &[SettingDoc] = &[
    CA,
    CERTIFICATE,
    KEY,
    CREDENTIALS,
    PREFIX,
    setting(
        "nats",
        "monitoring",
        DefaultValue::Toml("[]"),
        "Monitoring addresses of the NATS servers, `http://HOST:PORT`: asked at the start whether they sync every write.",
    ),
];

pub(super) const GATEWAY_DOCS: &[SettingDoc] = &[
    CA,
    CERTIFICATE,
    KEY,
    CREDENTIALS,
    PREFIX,
    setting(
        "nats",
        "report_key",
        DefaultValue::Absent("required with `nats:`"),
        "File of the key that signs what the gateway reports; the control planes' ring gives it the role `gateway`.",
    ),
    setting(
        "nats",
        "report_key_id",
        DefaultValue::Absent("required with `nats:`"),
        "The name of this key in the control planes' ring.",
    ),
];

/// NATS, and what a gateway signs its reports with there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsLink {
    /// How the servers are reached.
    pub nats: NatsSettings,
    /// The key that signs reports.
    pub report: KeyFile,
}

/// A NATS cluster, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// The servers to begin with.
    pub servers: NatsServers,
    /// TLS, beyond what the scheme of the servers says.
    pub tls: NatsTls,
    /// File of NATS credentials.
    pub credentials: Option<PathBuf>,
    /// The first part of every name: letters, digits, `-` and `_`.
    pub prefix: String,
    /// Where the servers say what they are set to: plain HTTP. Of a control plane only.
    pub monitoring: Vec<Destination>,
}

/// What is believed and shown when servers are spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatsTls {
    /// PEM file of the authorities that are believed; the system's when absent.
    pub ca: Option<PathBuf>,
    /// PEM files of the own certificate and its key, if one is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The servers of a cluster to begin with; they name the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServers {
    /// What is spoken with all of them.
    pub scheme: NatsScheme,
    /// Where they are; at least one.
    pub addresses: Vec<Destination>,
}

/// What is spoken with a NATS server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatsScheme {
    /// Plain TCP.
    Nats,
    /// TLS.
    Tls,
}

impl NatsServers {
    /// Their URLs.
    pub fn urls(&self) -> impl Iterator<Item = String> + '_ {
        let scheme = match self.scheme {
            NatsScheme::Nats => "nats",
            NatsScheme::Tls => "tls",
        };
        self.addresses.iter().map(move |address| format!("{scheme}://{address}"))
    }
}

/// Reads the URLs behind `nats:`, divided by commas.
pub(super) fn servers(field: &Field<'_>, urls: &str) -> Option<NatsServers> {
    const EXPECTED: &str = "expected nats:tls://HOST:PORT, or nats:nats://HOST:PORT for plain TCP";
    let mut found = Vec::new();
    for url in urls.split(',') {
        let scheme = match url.trim().split_once("://") {
            Some(("tls", address)) => (NatsScheme::Tls, address),
            Some(("nats", address)) => (NatsScheme::Nats, address),
            _ => return field.refuse(EXPECTED, None),
        };
        let (scheme, address) = scheme;
        match address.parse::<Destination>() {
            Ok(address) => found.push((scheme, address)),
            Err(why) => return field.refuse(&format!("{EXPECTED}: {why}"), None),
        }
    }
    let (scheme, _) = found.first()?;
    if found.iter().any(|(other, _)| other != scheme) {
        return field.refuse("some servers are named with TLS and some without", None);
    }
    Some(NatsServers { scheme: *scheme, addresses: found.into_iter().map(|(_, address)| address).collect() })
}

/// The section, without the servers.
#[derive(Debug)]
pub(super) struct Files {
    tls: NatsTls,
    credentials: Option<PathBuf>,
    prefix: String,
    monitoring: Vec<Destination>,
}

impl Files {
    /// Fails with what is wrong when there are files for TLS and the servers are spoken to without.
    pub(super) fn reach(self, servers: NatsServers) -> Result<NatsSettings, &'static str> {
        let Self { tls, credentials, prefix, monitoring } = self;
        if servers.scheme == NatsScheme::Nats && tls != NatsTls::default() {
            return Err(
                "`ca` and `certificate` have no effect: the servers are named with nats:// and not tls://",
            );
        }
        Ok(NatsSettings { servers, tls, credentials, prefix, monitoring })
    }
}

pub(super) fn read_of_gateway(mut table: Table<'_>, directory: &Path) -> Option<(Files, KeyFile)> {
    let report = key_file(&mut table, "report_key", "report_key_id", directory);
    Some((read(table, directory, Some(Vec::new()))?, report?))
}

pub(super) fn read_of_control(mut table: Table<'_>, directory: &Path) -> Option<Files> {
    let monitoring = table.required("monitoring").and_then(|field| field.each(monitoring));
    read(table, directory, monitoring)
}

fn monitoring(field: Field<'_>) -> Option<Destination> {
    let address =
        field.line()?.strip_prefix("http://").and_then(|address| address.trim_end_matches('/').parse().ok());
    address.or_else(|| field.refuse("expected http://HOST:PORT", None))
}

fn read(mut table: Table<'_>, directory: &Path, monitoring: Option<Vec<Destination>>) -> Option<Files> {
    let ca = table.maybe("ca", |field| field.path(directory));
    let identity = certificate_and_key(&mut table, directory);
    let credentials = table.maybe("credentials", |field| field.path(directory));
    let prefix = table.required("prefix").and_then(|field| {
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        match field.line()? {
            text if text.len() <= 32 && plain(text) => Some(text.to_owned()),
            _ => field.refuse("expected at most 32 letters, digits, `-` and `_`", None),
        }
    });
    table.finish();
    let tls = NatsTls { ca: ca?, identity: identity? };
    Some(Files { tls, credentials: credentials?, prefix: prefix?, monitoring: monitoring? })
}
