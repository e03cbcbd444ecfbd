//! Signed statements: what the payloads of envelopes say, and whose signatures they need.
//!
//! Reading goes one way only: verified bytes in, validated values out. Nothing that was not signed by the right roles
//! becomes a value of these types.

mod manifest;
mod statement;

use jiff::Timestamp;

use crate::envelope::EnvelopeFault;
use crate::keys::Role;

pub use manifest::{Approvals, SignedManifest, sign_manifest, verify_manifest};
pub(crate) use statement::RawStatement;
pub use statement::{Lift, Statement, sign_lift, sign_revocation, verify_statement};

/// Why a signed statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedFault {
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// The signatures hold, but not of the roles that are needed.
    #[error("the signatures do not cover the roles it needs, each by a key of its own: {}", names(.0))]
    Roles(Vec<Role>),
    /// The payload is not exactly the expected object.
    #[error("the payload is not in order: {0}")]
    Payload(String),
    /// The manifest in the payload has problems.
    #[error("the manifest is not in order: {0}")]
    Manifest(config::Problems),
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

/// An instant in RFC 3339.
fn instant(field: &str, text: &str) -> Result<Timestamp, SignedFault> {
    text.parse()
        .map_err(|_| SignedFault::Payload(format!("`{field}` is not an instant like 2026-01-17T12:40:00Z")))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
