//! One entry in its place.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::RawEntry;
use super::{Entry, LogFault, Position, digest, instant, open, payload_fault, sha256};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, SigningKey};
use crate::target::to_hex;

/// One entry of the log in its place, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its own place.
    pub position: Position,
    /// The digest of the record before it; zeros for the first.
    pub previous: [u8; 32],
    /// When the control plane wrote it down.
    pub at: Timestamp,
    /// Who had it written down, as the control plane knows them.
    pub by: String,
    /// What it decides.
    pub entry: Entry,
}

/// A signed record and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its own place.
    pub position: Position,
    /// The envelope, JSON in one line.
    pub envelope: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    epoch: u64,
    sequence: u64,
    previous: String,
    at: String,
    by: String,
    entry: RawEntry,
}

impl Record {
    /// Signs the record of `entry` that follows `after`.
    ///
    /// # Errors
    /// [`LogFault::Payload`] when the entry's envelope is not JSON.
    pub fn seal(
        after: &Position,
        entry: &Entry,
        by: &str,
        at: Timestamp,
        key: &SigningKey,
    ) -> Result<Sealed, LogFault> {
        let sequence = after.sequence + 1;
        let raw = RawRecord {
            epoch: after.epoch,
            sequence,
            previous: to_hex(&after.digest),
            at: at.to_string(),
            by: by.to_owned(),
            entry: RawEntry::of(entry)?,
        };
        let payload = serde_json::to_vec(&raw).map_err(payload_fault)?;
        let position = Position { epoch: after.epoch, sequence, digest: sha256(&payload) };
        let envelope = Envelope::sign(PayloadType::Record, payload, key).to_json().into();
        Ok(Sealed { position, envelope })
    }

    /// Verifies a record. Whether it fits behind another is for the reader to compare.
    ///
    /// # Errors
    /// [`LogFault`] when its signature, its role or its payload is not in order.
    pub fn open(envelope: &[u8], ring: &KeyRing) -> Result<Self, LogFault> {
        Self::read(&open(&Envelope::read(envelope)?, PayloadType::Record, ring)?)
    }

    /// Reads a record whose signature needs no look: one from the reader's own disk.
    ///
    /// # Errors
    /// [`LogFault`] when it is not a record.
    pub fn read_own(envelope: &[u8]) -> Result<Self, LogFault> {
        Self::read(Envelope::read(envelope)?.unverified_payload())
    }

    fn read(payload: &[u8]) -> Result<Self, LogFault> {
        let raw: RawRecord = serde_json::from_slice(payload).map_err(payload_fault)?;
        if raw.sequence == 0 {
            return Err(LogFault::Payload("`sequence` begins with 1".into()));
        }
        Ok(Self {
            position: Position { epoch: raw.epoch, sequence: raw.sequence, digest: sha256(payload) },
            previous: digest("previous", &raw.previous)?,
            at: instant("at", &raw.at)?,
            by: raw.by,
            entry: raw.entry.into_entry()?,
        })
    }

    /// Whether it is the very next one behind `position`.
    #[must_use]
    pub fn follows(&self, position: &Position) -> bool {
        self.position.epoch == position.epoch
            && self.position.sequence.checked_sub(1) == Some(position.sequence)
            && self.previous == position.digest
    }
}
