//! A gateway's word on a bus that others share, and the answer to it.
//!
//! A word names its gateway, the instant and, for a lease, a number that the answer repeats. It counts when the key that
//! bears the gateway's name signed it with the role of a gateway, when it came in under the gateway's own subject, when it is
//! not old, and when it was not heard before. Pure values; nothing here touches the bus.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, Role, SigningKey};
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::transport::Report;

/// How far the clocks of gateways and control planes may be apart, travel included, in microseconds.
pub(super) const APART: u64 = 30_000_000;

/// Why a word does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it is not an envelope with the expected payload")]
    Malformed,
    #[error("it is not signed by whom it claims to be from")]
    Forged,
    #[error("it came in under another gateway's name")]
    Misplaced,
    #[error("it is old, or from the future: the clocks may be apart")]
    Untimely,
    #[error("it was heard before")]
    Replayed,
    #[error("too many wait for an answer")]
    Busy,
}

impl Refused {
    pub(super) const ALL: [Self; 6] =
        [Self::Malformed, Self::Forged, Self::Misplaced, Self::Untimely, Self::Replayed, Self::Busy];

    /// The word for metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Misplaced => "misplaced",
            Self::Untimely => "untimely",
            Self::Replayed => "replayed",
            Self::Busy => "busy",
        }
    }
}

/// What a gateway reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reported {
    pub(super) gateway: String,
    /// Another, higher number for every connection.
    pub(super) connection: u64,
    /// Unix microseconds; every report has a later one than the report before.
    pub(super) at_us: u64,
    pub(super) report: Report,
}

/// What a gateway asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) gateway: String,
    /// Unix microseconds.
    pub(super) at_us: u64,
    /// Drawn at random, once.
    pub(super) nonce: String,
    pub(super) request: LeaseRequest,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) gateway: String,
    /// That of the question.
    pub(super) nonce: String,
    /// Absent when there is none, and then `fault` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<LeaseAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
}

/// Something that names the gateway that says it.
pub(super) trait Word: DeserializeOwned {
    const TYPE: PayloadType;
    fn gateway(&self) -> &str;
    fn at_us(&self) -> u64;
}

impl Word for Reported {
    const TYPE: PayloadType = PayloadType::Report;

    fn gateway(&self) -> &str {
        &self.gateway
    }

    fn at_us(&self) -> u64 {
        self.at_us
    }
}

impl Word for Asked {
    const TYPE: PayloadType = PayloadType::Lease;

    fn gateway(&self) -> &str {
        &self.gateway
    }

    fn at_us(&self) -> u64 {
        self.at_us
    }
}

/// Signs.
pub(super) fn seal(of: PayloadType, what: &impl Serialize, key: &SigningKey) -> Bytes {
    let payload = serde_json::to_vec(what).unwrap_or_default();
    Envelope::sign(of, payload, key).to_json().into()
}

/// Verifies a gateway's word that came in under the name `under`, at `now_us`. Whether it was heard before is for the
/// listener to know.
pub(super) fn heard<W: Word>(
    envelope: &[u8],
    under: &str,
    now_us: u64,
    ring: &KeyRing,
) -> Result<W, Refused> {
    let envelope = Envelope::read(envelope).map_err(|_| Refused::Malformed)?;
    let verified = envelope.verify(W::TYPE, ring).map_err(|_| Refused::Forged)?;
    let word: W = serde_json::from_slice(verified.payload).map_err(|_| Refused::Malformed)?;
    let own = verified.signers.iter().find(|signer| signer.as_str() == word.gateway());
    let has_role = own
        .and_then(|signer| ring.key(signer.as_str()))
        .is_some_and(|key| key.roles().contains(&Role::Gateway));
    if !has_role {
        Err(Refused::Forged)
    } else if word.gateway() != under {
        Err(Refused::Misplaced)
    } else if word.at_us().abs_diff(now_us) > APART {
        Err(Refused::Untimely)
    } else {
        Ok(word)
    }
}

/// Verifies the answer of a control plane to this question.
pub(super) fn answered(envelope: &[u8], to: &Asked, ring: &KeyRing) -> Result<Answered, Refused> {
    let envelope = Envelope::read(envelope).map_err(|_| Refused::Malformed)?;
    let verified = envelope.verify(PayloadType::Lease, ring).map_err(|_| Refused::Forged)?;
    if !ring.cover(&verified.signers, &[Role::Control]) {
        return Err(Refused::Forged);
    }
    let answer: Answered = serde_json::from_slice(verified.payload).map_err(|_| Refused::Malformed)?;
    if answer.gateway != to.gateway {
        Err(Refused::Misplaced)
    } else if answer.nonce != to.nonce {
        Err(Refused::Replayed)
    } else {
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
