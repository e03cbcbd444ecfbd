//! Is it signed or not? A manifest as it is found in a file, either way.

use config::{IssuedManifest, ManifestDraft, Problem, Problems, Source};
use policy_sync::{Envelope, PayloadType};
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::exit::During as _;

/// A manifest from a file. What is signed has not been verified.
#[derive(Debug)]
pub(crate) enum Document {
    /// As its author wrote it.
    Draft(ManifestDraft),
    /// In an envelope.
    Signed { envelope: Envelope, issued: IssuedManifest },
    /// A signed revocation, or the lifting of one.
    Statement(Envelope),
}

impl Document {
    /// Reads a manifest, signed or not.
    ///
    /// # Errors
    /// Every problem of the file.
    pub(crate) fn read(source: &Source) -> Result<Self, Problems> {
        let signed = String::from_utf8_lossy(source.bytes()).contains("\"payloadType\"");
        if signed { Self::signed(source) } else { ManifestDraft::read(source).map(Self::Draft) }
    }

    /// Reads a file that has to be signed.
    ///
    /// # Errors
    /// What is wrong with the envelope, or with the manifest in it.
    pub(crate) fn signed(source: &Source) -> Result<Self, Problems> {
        let envelope = Envelope::read(source.bytes())
            .map_err(|fault| Problems::one(about(source, fault.to_string())))?;
        match envelope.payload_type() {
            PayloadType::Manifest => {
                let issued = IssuedManifest::read(envelope.unverified_payload())?;
                Ok(Self::Signed { envelope, issued })
            }
            PayloadType::Revocation => Ok(Self::Statement(envelope)),
            PayloadType::Record
            | PayloadType::Heartbeat
            | PayloadType::Snapshot
            | PayloadType::Lease
            | PayloadType::Report => {
                Err(Problems::one(about(source, "neither a manifest nor a revocation".to_owned())))
            }
        }
    }

    /// The manifest itself; a revocation is none.
    pub(crate) fn manifest(&self) -> Result<&ManifestDraft, Failure> {
        match self {
            Self::Draft(draft) => Ok(draft),
            Self::Signed { issued, .. } => Ok(&issued.draft),
            Self::Statement(_) => Err(Failure::new("the file is a revocation, not a manifest")),
        }
    }

    /// What it says, as JSON.
    pub(crate) fn to_value(&self) -> Result<Value, Failure> {
        let text = match self {
            Self::Draft(draft) => draft.to_json().into_bytes(),
            Self::Signed { envelope, .. } | Self::Statement(envelope) => {
                envelope.unverified_payload().to_vec()
            }
        };
        serde_json::from_slice(&text).during("the payload")
    }
}

fn about(source: &Source, message: String) -> Problem {
    let file = source.name().to_owned();
    Problem { file, line: 0, column: 0, path: String::new(), message, help: None, excerpt: None }
}
