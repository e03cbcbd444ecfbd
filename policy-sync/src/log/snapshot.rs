//! Everything a log comes to at one position: a signed head that names chunks by their digests, and the chunks.
//!
//! A chunk is entries as JSON, one a line. The head is verified once; a chunk is what its digest says or nothing, so chunks
//! may come from anywhere, in any order, and be kept.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::RawEntry;
use super::{Entry, LogFault, Position, digest, instant, open, payload_fault, sha256};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, SigningKey};
use crate::target::to_hex;

/// How large a chunk is to become, in bytes; one entry that is larger has a chunk of its own.
pub(crate) const CHUNK: usize = 512 << 10;

/// What vouches for the chunks of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The position at which the log comes to this.
    pub position: Position,
    /// When it was taken.
    pub at: Timestamp,
    /// SHA-256 of each chunk, in order.
    pub chunks: Vec<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHead {
    epoch: u64,
    sequence: u64,
    digest: String,
    at: String,
    chunks: Vec<String>,
}

impl SnapshotHead {
    /// Signs it.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Bytes {
        let raw = RawHead {
            epoch: self.position.epoch,
            sequence: self.position.sequence,
            digest: to_hex(&self.position.digest),
            at: self.at.to_string(),
            chunks: self.chunks.iter().map(|digest| to_hex(digest)).collect(),
        };
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        Envelope::sign(PayloadType::Snapshot, payload, key).to_json().into()
    }

    /// Verifies one.
    ///
    /// # Errors
    /// [`LogFault`] when its signature, its role or its payload is not in order.
    pub fn open(envelope: &[u8], ring: &KeyRing) -> Result<Self, LogFault> {
        Self::read(&open(&Envelope::read(envelope)?, PayloadType::Snapshot, ring)?)
    }

    /// Reads a head whose signature needs no look: one that was verified before.
    ///
    /// # Errors
    /// [`LogFault`] when it is no head.
    pub fn read_own(envelope: &[u8]) -> Result<Self, LogFault> {
        Self::read(Envelope::read(envelope)?.unverified_payload())
    }

    fn read(payload: &[u8]) -> Result<Self, LogFault> {
        let raw: RawHead = serde_json::from_slice(payload).map_err(payload_fault)?;
        let position =
            Position { epoch: raw.epoch, sequence: raw.sequence, digest: digest("digest", &raw.digest)? };
        let chunks = raw.chunks.iter().map(|text| digest("chunks", text)).collect::<Result<_, _>>()?;
        Ok(Self { position, at: instant("at", &raw.at)?, chunks })
    }
}

/// An entry of a snapshot, and where it stood in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The sequence of its record.
    pub sequence: u64,
    /// When it was written down.
    pub at: Timestamp,
    /// Who had it written down.
    pub by: String,
    /// What it decides.
    pub entry: Entry,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNoted {
    sequence: u64,
    at: String,
    by: String,
    entry: RawEntry,
}

impl RawNoted {
    fn into_noted(self) -> Result<Noted, LogFault> {
        let Self { sequence, at, by, entry } = self;
        Ok(Noted { sequence, at: instant("at", &at)?, by, entry: entry.into_entry()? })
    }
}

/// Cuts entries into chunks.
#[derive(Debug, Default)]
pub struct Chunks {
    open: Vec<u8>,
}

impl Chunks {
    /// Adds an entry; hands out a chunk, with its digest, whenever one is full.
    ///
    /// # Errors
    /// [`LogFault::Payload`] when the entry's envelope is not JSON.
    pub fn add(&mut self, noted: &Noted) -> Result<Option<([u8; 32], Bytes)>, LogFault> {
        let raw = RawNoted {
            sequence: noted.sequence,
            at: noted.at.to_string(),
            by: noted.by.clone(),
            entry: RawEntry::of(&noted.entry)?,
        };
        serde_json::to_writer(&mut self.open, &raw).map_err(payload_fault)?;
        self.open.push(b'\n');
        Ok(if self.open.len() >= CHUNK { self.finish() } else { None })
    }

    /// Hands out what is left.
    pub fn finish(&mut self) -> Option<([u8; 32], Bytes)> {
        let chunk = Bytes::from(std::mem::take(&mut self.open));
        (!chunk.is_empty()).then(|| (sha256(&chunk), chunk))
    }
}

/// The entries of a chunk, in the order of the log.
///
/// # Errors
/// [`LogFault::Payload`] when it is not the chunk of this digest, or holds what is no entry.
pub fn read_chunk(expected: &[u8; 32], chunk: &[u8]) -> Result<Vec<Entry>, LogFault> {
    Ok(read_noted(expected, chunk)?.into_iter().map(|noted| noted.entry).collect())
}

/// The entries of a chunk, in the order of the log, and where they stood in it.
///
/// # Errors
/// As [`read_chunk`].
pub fn read_noted(expected: &[u8; 32], chunk: &[u8]) -> Result<Vec<Noted>, LogFault> {
    if sha256(chunk) != *expected {
        return Err(LogFault::Payload("the chunk is not the one that the head names".into()));
    }
    let lines = chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<RawNoted>(line).map_err(payload_fault)?.into_noted()).collect()
}
