//! What one record decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use config::ManifestId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{LogFault, digest, payload_fault};
use crate::target::to_hex;

/// The largest CRL that a log carries, in bytes of DER: about 80,000 certificates.
pub const LARGEST_CRL: usize = 3 << 20;

/// What one record decides. Envelopes are carried as their authors signed them, and verified by whoever applies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The envelope of a manifest.
    Manifest(Bytes),
    /// A manifest stops being live, without being revoked: the payload of this digest, under this id.
    Withdrawal {
        /// The manifest.
        id: ManifestId,
        /// SHA-256 of its payload.
        digest: [u8; 32],
    },
    /// The envelope of a revocation.
    Revocation(Bytes),
    /// The envelope of the lifting of one.
    Lift(Bytes),
    /// A CRL in DER; it is signed by its authority.
    Crl(Bytes),
}

impl Entry {
    /// The word for this kind of entry.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Withdrawal { .. } => "withdrawal",
            Self::Revocation(_) => "revocation",
            Self::Lift(_) => "lift",
            Self::Crl(_) => "crl",
        }
    }
}

/// An entry as JSON spells it: `kind`, and what that kind needs. Envelopes stay the text that they were.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntry {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    der: Option<String>,
}

impl RawEntry {
    pub(super) fn of(entry: &Entry) -> Result<Self, LogFault> {
        let raw = Self { kind: entry.kind().to_owned(), ..Self::default() };
        Ok(match entry {
            Entry::Manifest(envelope) | Entry::Revocation(envelope) | Entry::Lift(envelope) => {
                let text = std::str::from_utf8(envelope).map_err(payload_fault)?;
                let envelope = RawValue::from_string(text.trim().to_owned()).map_err(payload_fault)?;
                Self { envelope: Some(envelope), ..raw }
            }
            Entry::Withdrawal { id, digest } => {
                Self { manifest_id: Some(id.as_str().to_owned()), digest: Some(to_hex(digest)), ..raw }
            }
            Entry::Crl(der) => Self { der: Some(STANDARD.encode(der)), ..raw },
        })
    }

    pub(super) fn into_entry(self) -> Result<Entry, LogFault> {
        let bytes = |envelope: Box<RawValue>| Bytes::from(String::from(Box::<str>::from(envelope)));
        match (self.kind.as_str(), self.envelope, self.manifest_id, self.digest, self.der) {
            ("manifest", Some(envelope), None, None, None) => Ok(Entry::Manifest(bytes(envelope))),
            ("revocation", Some(envelope), None, None, None) => Ok(Entry::Revocation(bytes(envelope))),
            ("lift", Some(envelope), None, None, None) => Ok(Entry::Lift(bytes(envelope))),
            ("withdrawal", None, Some(id), Some(of), None) => {
                let id = id.parse().map_err(payload_fault)?;
                Ok(Entry::Withdrawal { id, digest: digest("digest", &of)? })
            }
            ("crl", None, None, None, Some(der)) => crl(&der),
            (kind, ..) => Err(LogFault::Payload(format!("`{kind}` is no kind of entry with these fields"))),
        }
    }
}

fn crl(der: &str) -> Result<Entry, LogFault> {
    let der = STANDARD.decode(der).map_err(payload_fault)?;
    if der.len() > LARGEST_CRL {
        return Err(LogFault::Payload("the CRL is too large".into()));
    }
    Ok(Entry::Crl(der.into()))
}
