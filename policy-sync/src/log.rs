//! The log of policy: everything that was ever decided, in one dense order that nobody can bend.
//!
//! A [`Record`] carries one [`Entry`] (what its author signed) in its place: epoch, sequence, and the digest of the record
//! before it, all under the signature of a control plane. A [`Heartbeat`] says every second how far the log reaches, so
//! that a feed that is frozen is noticed. A [`SnapshotHead`] vouches for everything a log comes to at one position, for
//! those who are too far behind. Whoever carries these can delay them; forging, reordering or leaving out shows.
//!
//! Pure values: nothing here reads a clock, a file or a socket.

mod entry;
mod heartbeat;
mod position;
mod record;
mod snapshot;

use jiff::Timestamp;

use crate::envelope::{Envelope, EnvelopeFault, PayloadType};
use crate::keys::{KeyRing, Role};

pub use entry::{Entry, LARGEST_CRL};
pub use heartbeat::Heartbeat;
pub use position::Position;
pub use record::{Record, Sealed};
pub(crate) use snapshot::CHUNK;
pub use snapshot::{Chunks, Noted, SnapshotHead, read_chunk, read_noted};

/// Why something that claims to be of the log is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// The envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    /// The signatures hold, but none is by a key with the role of control.
    #[error("it is not signed by a key with the role `control`")]
    Role,
    /// The payload is not exactly the expected object.
    #[error("the payload is not in order: {0}")]
    Payload(String),
}

/// The verified payload of an envelope that only a control plane may sign.
fn open(envelope: &Envelope, expected: PayloadType, ring: &KeyRing) -> Result<Vec<u8>, LogFault> {
    let verified = envelope.verify(expected, ring)?;
    if ring.cover(&verified.signers, &[Role::Control]) {
        Ok(verified.payload.to_vec())
    } else {
        Err(LogFault::Role)
    }
}

fn payload_fault(fault: impl std::fmt::Display) -> LogFault {
    LogFault::Payload(fault.to_string())
}

fn instant(field: &str, text: &str) -> Result<Timestamp, LogFault> {
    text.parse().map_err(|_| LogFault::Payload(format!("`{field}` is not an instant")))
}

fn digest(field: &str, text: &str) -> Result<[u8; 32], LogFault> {
    let bytes = crate::target::from_hex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| LogFault::Payload(format!("`{field}` is not a SHA-256 in hex")))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
