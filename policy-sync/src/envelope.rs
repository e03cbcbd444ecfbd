//! The signed envelope that policy travels in: DSSE with Ed25519.
//!
//! What is verified is the exact payload that was received, never a re-serialisation of it, with the payload type bound
//! in by the pre-authentication encoding. Reading an envelope says nothing about trust: only [`Envelope::verify`]
//! hands the payload out. Signatures by keys that the ring does not know are ignored; one that claims a known key and
//! does not verify spoils the envelope.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyId, KeyRing, SigningKey};

/// The largest envelope of a manifest or a statement, in bytes of its JSON.
pub const LARGEST_ENVELOPE: usize = 1 << 21;
/// The largest envelope of any kind, in bytes of its JSON: a record of the log, which carries another one.
pub const LARGEST_RECORD: usize = 7 << 20;
/// The largest payload of a manifest or a statement, in bytes.
pub const LARGEST_PAYLOAD: usize = 1 << 20;
/// The most signatures on one envelope.
pub const MOST_SIGNATURES: usize = 16;

/// What an envelope carries. The name is part of what is signed, so one kind never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// A manifest and when it was issued.
    Manifest,
    /// A revocation, or the lifting of one.
    Revocation,
    /// One entry of the log of policy, in its place.
    Record,
    /// How far the log reaches, and when that was so.
    Heartbeat,
    /// What a whole log comes to at one position.
    Snapshot,
    /// A part of an upload budget, asked for or handed out.
    Lease,
    /// What a gateway has enforced.
    Report,
}

impl PayloadType {
    /// The media type as it is signed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "application/vnd.portcullis.manifest.v1+json",
            Self::Revocation => "application/vnd.portcullis.revocation.v1+json",
            Self::Record => "application/vnd.portcullis.record.v1+json",
            Self::Heartbeat => "application/vnd.portcullis.heartbeat.v1+json",
            Self::Snapshot => "application/vnd.portcullis.snapshot.v1+json",
            Self::Lease => "application/vnd.portcullis.lease.v1+json",
            Self::Report => "application/vnd.portcullis.report.v1+json",
        }
    }

    /// The largest payload of this kind, in bytes.
    #[must_use]
    pub const fn largest(self) -> usize {
        match self {
            Self::Manifest | Self::Revocation | Self::Report => LARGEST_PAYLOAD,
            Self::Record | Self::Snapshot => 5 << 20,
            Self::Heartbeat => 1 << 12,
            Self::Lease => 1 << 14,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Manifest,
            Self::Revocation,
            Self::Record,
            Self::Heartbeat,
            Self::Snapshot,
            Self::Lease,
            Self::Report,
        ];
        all.into_iter().find(|known| known.as_str() == text)
    }
}

/// An envelope whose shape is in order; whose word it carries is not known before [`Envelope::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: PayloadType,
    payload: Vec<u8>,
    signatures: Vec<(String, Signature)>,
}

/// A payload with the keys that signed it, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The exact bytes that were signed.
    pub payload: &'a [u8],
    /// The distinct keys whose signatures hold; never empty.
    pub signers: Vec<KeyId>,
}

impl Envelope {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`EnvelopeFault`] when it is too large, not exactly the expected object, of an unknown payload type, or unsigned.
    pub fn read(json: &[u8]) -> Result<Self, EnvelopeFault> {
        if json.len() > LARGEST_RECORD {
            return Err(EnvelopeFault::TooLarge);
        }
        let raw: RawEnvelope =
            serde_json::from_slice(json).map_err(|fault| EnvelopeFault::Json(fault.to_string()))?;
        let payload_type = PayloadType::parse(&raw.payload_type).ok_or(EnvelopeFault::PayloadType)?;
        let payload = decode(&raw.payload).ok_or(EnvelopeFault::Base64("payload"))?;
        if payload.len() > payload_type.largest() {
            return Err(EnvelopeFault::TooLarge);
        }
        let signatures =
            raw.signatures.into_iter().map(RawSignature::decode).collect::<Result<Vec<_>, _>>()?;
        match signatures.len() {
            0 => Err(EnvelopeFault::Unsigned),
            1..=MOST_SIGNATURES => Ok(Self { payload_type, payload, signatures }),
            _ => Err(EnvelopeFault::TooManySignatures),
        }
    }

    /// Signs a payload with one key.
    #[must_use]
    pub fn sign(payload_type: PayloadType, payload: Vec<u8>, key: &SigningKey) -> Self {
        let mut envelope = Self { payload_type, payload, signatures: Vec::new() };
        envelope.add_signature(key);
        envelope
    }

    /// Adds the signature of one more key; a key that signed before replaces its signature.
    pub fn add_signature(&mut self, key: &SigningKey) {
        let signature = key.sign(&pre_authentication_encoding(self.payload_type, &self.payload));
        self.signatures.retain(|(id, _)| id != key.id().as_str());
        self.signatures.push((key.id().as_str().to_owned(), signature));
    }

    /// Adds the signatures of another envelope over the same bytes. Of a key that both have, this one's stays.
    pub(crate) fn add_signatures_of(&mut self, other: &Self) {
        if self.payload_type != other.payload_type || self.payload != other.payload {
            return;
        }
        for (id, signature) in &other.signatures {
            if self.signatures.len() < MOST_SIGNATURES
                && !self.signatures.iter().any(|(known, _)| known == id)
            {
                self.signatures.push((id.clone(), *signature));
            }
        }
    }

    /// The JSON form, in one line without a line end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawEnvelope {
            payload_type: self.payload_type.as_str().to_owned(),
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|(keyid, signature)| RawSignature {
                    keyid: keyid.clone(),
                    sig: STANDARD.encode(signature.to_bytes()),
                })
                .collect(),
        };
        serde_json::to_vec(&raw).unwrap_or_default()
    }

    /// What kind of payload it claims to carry.
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        self.payload_type
    }

    /// The keys that claim to have signed, whether they did or not.
    pub(crate) fn claimed_signers(&self) -> Vec<KeyId> {
        self.signatures.iter().filter_map(|(id, _)| KeyId::new(id)).collect()
    }

    /// The payload although nobody vouches for it: for showing, and for recognising what was verified before.
    #[must_use]
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks every signature by a key of the ring and hands the payload out with the keys that hold.
    ///
    /// # Errors
    /// [`EnvelopeFault`] when the payload is of another type, a known key's signature does not hold, or no known key
    /// signed.
    pub fn verify(&self, expected: PayloadType, ring: &KeyRing) -> Result<Verified<'_>, EnvelopeFault> {
        if self.payload_type != expected {
            return Err(EnvelopeFault::PayloadType);
        }
        let message = pre_authentication_encoding(self.payload_type, &self.payload);
        let mut signers: Vec<KeyId> = Vec::new();
        for (keyid, signature) in &self.signatures {
            let Some(key) = ring.key(keyid) else { continue };
            if !key.verifies(&message, signature) {
                return Err(EnvelopeFault::BadSignature(key.id().clone()));
            }
            if !signers.contains(key.id()) {
                signers.push(key.id().clone());
            }
        }
        if signers.is_empty() {
            Err(EnvelopeFault::NoKnownKey)
        } else {
            Ok(Verified { payload: &self.payload, signers })
        }
    }
}

/// `DSSEv1 LEN(type) type LEN(payload) payload`: what is actually signed.
fn pre_authentication_encoding(payload_type: PayloadType, payload: &[u8]) -> Vec<u8> {
    let name = payload_type.as_str();
    let mut message = format!("DSSEv1 {} {name} {} ", name.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawEnvelope {
    payload_type: String,
    payload: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    keyid: String,
    sig: String,
}

impl RawSignature {
    fn decode(self) -> Result<(String, Signature), EnvelopeFault> {
        let bytes = decode(&self.sig).ok_or(EnvelopeFault::Base64("sig"))?;
        let signature = Signature::from_slice(&bytes).map_err(|_| EnvelopeFault::Base64("sig"))?;
        Ok((self.keyid, signature))
    }
}

/// Either alphabet, as DSSE asks of a reader.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// Larger than what its kind of payload may need: 1 MiB for a manifest.
    #[error("the envelope is too large")]
    TooLarge,
    /// Not exactly the object an envelope is.
    #[error("the envelope is not the expected JSON: {0}")]
    Json(String),
    /// Another or an unknown payload type.
    #[error("the envelope carries another type of payload")]
    PayloadType,
    /// A field that is not base64 of the right length.
    #[error("the field `{0}` of the envelope is not valid base64 of the right length")]
    Base64(&'static str),
    /// No signature at all.
    #[error("the envelope is not signed")]
    Unsigned,
    /// More signatures than anybody needs.
    #[error("the envelope has more than 16 signatures")]
    TooManySignatures,
    /// A signature that claims a known key and does not hold.
    #[error("the signature by key {0} does not hold")]
    BadSignature(KeyId),
    /// Only keys that are not in the ring.
    #[error("the envelope is not signed by any key of the key ring")]
    NoKnownKey,
}

#[cfg(test)]
mod tests;
