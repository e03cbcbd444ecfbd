//! How far the log reaches, said again every second.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LogFault, instant, open, payload_fault};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, SigningKey};

/// How far the log reaches, and when that was so. Whoever has come that far is as fresh as `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The epoch of the log.
    pub epoch: u64,
    /// Its last sequence.
    pub sequence: u64,
    /// By the clock of the control plane.
    pub now: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeartbeat {
    epoch: u64,
    sequence: u64,
    now: String,
}

impl Heartbeat {
    /// Signs it.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Bytes {
        let raw = RawHeartbeat { epoch: self.epoch, sequence: self.sequence, now: self.now.to_string() };
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        Envelope::sign(PayloadType::Heartbeat, payload, key).to_json().into()
    }

    /// Verifies one.
    ///
    /// # Errors
    /// [`LogFault`] when its signature, its role or its payload is not in order.
    pub fn open(envelope: &[u8], ring: &KeyRing) -> Result<Self, LogFault> {
        let payload = open(&Envelope::read(envelope)?, PayloadType::Heartbeat, ring)?;
        let raw: RawHeartbeat = serde_json::from_slice(&payload).map_err(payload_fault)?;
        Ok(Self { epoch: raw.epoch, sequence: raw.sequence, now: instant("now", &raw.now)? })
    }
}
