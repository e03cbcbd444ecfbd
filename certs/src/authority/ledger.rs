//! The index of what was issued and revoked: one JSON object a line, append-only.
//!
//! Serial numbers and digests are lower-case hex. A line that cannot be read is a fault, never skipped: a lost line
//! in the list of revocations would give a certificate back.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::AuthorityFault;
use super::issued::Issued;
use super::profile::Profile;
use crate::files;

/// One issued certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IssuedRecord {
    /// Serial number: hex, without leading zero bytes.
    pub serial: String,
    /// The device it names, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The agent it names, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The gateway it names, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The common name, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// SHA-256 of the certificate, hex.
    pub sha256: String,
    /// Its end, Unix seconds.
    pub not_after: i64,
}

impl IssuedRecord {
    pub(super) fn of(profile: &Profile, issued: &Issued) -> Self {
        Self {
            serial: super::issued::hex(issued.serial()),
            device: profile.device.as_ref().map(ToString::to_string),
            agent: profile.agent.as_ref().map(ToString::to_string),
            gateway: profile.gateway.clone(),
            common_name: profile.common_name.clone(),
            sha256: super::issued::hex(&issued.fingerprint()),
            not_after: profile.not_after,
        }
    }
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RevokedRecord {
    /// Serial number: hex, without leading zero bytes.
    pub serial: String,
    /// When, Unix seconds.
    pub revoked_at: i64,
}

/// Adds one record, durably.
pub(super) fn append<T: Serialize>(path: &Path, record: &T) -> Result<(), AuthorityFault> {
    let line = serde_json::to_string(record).map_err(|_| AuthorityFault::Malformed {
        path: path.into(),
        what: "a record that cannot be written",
    })?;
    files::append_line(path, &line).map_err(|fault| AuthorityFault::file(path, fault))
}

/// All records, in order.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, AuthorityFault> {
    let lines = files::lines(path).map_err(|fault| AuthorityFault::file(path, fault))?;
    let record = |line: String| {
        serde_json::from_str(&line)
            .map_err(|_| AuthorityFault::Malformed { path: path.into(), what: "a line that is no record" })
    };
    lines.into_iter().map(record).collect()
}
