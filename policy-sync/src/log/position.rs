//! A place in the log.

use std::fmt;

use crate::target::to_hex;

/// A place in the log: how far it was followed.
///
/// Epochs begin where a log is founded, or founded anew after a restore, and are the second in which that happened. Within
/// one, sequences are dense from 1. The digest is that of the record at this place, so two logs that were ever different
/// never agree on a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Unix seconds of the log's foundation.
    pub epoch: u64,
    /// The number of the last record; 0 before the first.
    pub sequence: u64,
    /// SHA-256 of the last record's payload; zeros before the first.
    pub digest: [u8; 32],
}

impl Position {
    /// The place before the first record of an epoch.
    #[must_use]
    pub const fn start_of(epoch: u64) -> Self {
        Self { epoch, sequence: 0, digest: [0; 32] }
    }
}

/// `epoch/sequence#digest`, the digest in short.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest: String = to_hex(&self.digest).chars().take(12).collect();
        write!(f, "{}/{}#{digest}", self.epoch, self.sequence)
    }
}
