//! Revocations and their lifting, as signed payloads.
//!
//! A payload is one JSON object: exactly one target (`manifest_id`, `device`, `user`, `agent`, `certificate` or `all`), a
//! `reason`, a `timestamp`, and a `nonce` that makes it unique; a lifting has `lifts` besides, the name of the revocation
//! it undoes. A statement's own name is derived from its payload, so nobody can choose or reuse one. A lifting undoes
//! that one revocation, whenever it arrives, and never a later one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SignedFault, instant, sha256};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, Role, SigningKey, SigningKeyFault};
use crate::revocations::{Revocation, StatementId};
use crate::target::{CertificateTarget, Target, to_hex};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1024;
/// The largest payload of a statement, in bytes.
const LARGEST_PAYLOAD: usize = 32 * 1024;

/// A verified statement about what is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Somebody or something loses its authority.
    Revoke(Revocation),
    /// One revocation is undone.
    Lift(Lift),
}

/// The undoing of one revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lift {
    /// Its own name.
    pub id: StatementId,
    /// The revocation it undoes.
    pub lifts: StatementId,
    /// What that revocation is aimed at.
    pub target: Target,
    /// Why, in the words of whoever lifts.
    pub reason: Arc<str>,
    /// When, by the clock of whoever lifts: seconds since 1970.
    pub timestamp: i64,
}

/// Signs a revocation.
///
/// # Errors
/// When the system gives no random bytes.
pub fn sign_revocation(
    target: Target,
    reason: &str,
    at: Timestamp,
    key: &SigningKey,
) -> Result<(Envelope, Revocation), SigningKeyFault> {
    let raw = RawStatement { nonce: Some(nonce()?), ..RawStatement::new(&target, reason, at) };
    let payload = raw.to_json();
    let id = StatementId::of_digest(&sha256(&payload));
    let reason = raw.reason.as_str().into();
    let revocation = Revocation { id, target, reason, timestamp: at.as_second() };
    Ok((Envelope::sign(PayloadType::Revocation, payload, key), revocation))
}

/// Signs the lifting of a revocation.
///
/// # Errors
/// When the system gives no random bytes.
pub fn sign_lift(
    lifted: &Revocation,
    reason: &str,
    at: Timestamp,
    key: &SigningKey,
) -> Result<Envelope, SigningKeyFault> {
    let raw = RawStatement { nonce: Some(nonce()?), ..RawStatement::new(&lifted.target, reason, at) };
    let raw = raw.lifting(lifted.id);
    Ok(Envelope::sign(PayloadType::Revocation, raw.to_json(), key))
}

/// Verifies a statement: a revocation by a key with the role of revoker, a lifting by one with the role of approver.
///
/// # Errors
/// [`SignedFault`] when a signature, a role or the payload is not in order.
pub fn verify_statement(envelope: &Envelope, ring: &KeyRing) -> Result<Statement, SignedFault> {
    let verified = envelope.verify(PayloadType::Revocation, ring)?;
    let statement = Statement::read(verified.payload)?;
    let role = match &statement {
        Statement::Revoke(_) => Role::Revoker,
        Statement::Lift(_) => Role::Approver,
    };
    if ring.cover(&verified.signers, &[role]) { Ok(statement) } else { Err(SignedFault::Roles(vec![role])) }
}

impl Statement {
    /// Reads a payload, whoever signed it.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, SignedFault> {
        if payload.len() > LARGEST_PAYLOAD {
            return Err(SignedFault::Payload("it is over 32 KiB".into()));
        }
        let raw: RawStatement =
            serde_json::from_slice(payload).map_err(|fault| SignedFault::Payload(fault.to_string()))?;
        raw.into_statement(StatementId::of_digest(&sha256(payload)))
    }

    /// The statement's own name.
    #[must_use]
    pub const fn id(&self) -> StatementId {
        match self {
            Self::Revoke(revocation) => revocation.id,
            Self::Lift(lift) => lift.id,
        }
    }

    /// What it is aimed at.
    #[must_use]
    pub const fn target(&self) -> &Target {
        match self {
            Self::Revoke(revocation) => &revocation.target,
            Self::Lift(lift) => &lift.target,
        }
    }
}

/// A statement as JSON spells it; nothing about it has been checked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawStatement {
    #[serde(skip_serializing_if = "Option::is_none")]
    lifts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<RawCertificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
    reason: String,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum RawCertificate {
    Fingerprint(String),
    IssuerSerial(RawIssuerSerial),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuerSerial {
    /// Base64 of the issuer's name in DER.
    issuer: String,
    /// Hex.
    serial: String,
}

impl RawStatement {
    pub(crate) fn new(target: &Target, reason: &str, at: Timestamp) -> Self {
        let mut raw = Self { timestamp: at.to_string(), ..Self::default() };
        let cut = (0..=LONGEST_REASON.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
        reason.get(..cut.unwrap_or(0)).unwrap_or_default().clone_into(&mut raw.reason);
        match target {
            Target::Manifest(id) => raw.manifest_id = Some(id.as_str().to_owned()),
            Target::Device(id) => raw.device = Some(id.as_str().to_owned()),
            Target::User(name) => raw.user = Some(name.as_str().to_owned()),
            Target::Agent(name) => raw.agent = Some(name.as_str().to_owned()),
            Target::Certificate(certificate) => raw.certificate = Some(RawCertificate::new(certificate)),
            Target::All => raw.all = Some(true),
        }
        raw
    }

    pub(crate) fn lifting(mut self, lifts: StatementId) -> Self {
        self.lifts = Some(lifts.to_string());
        self
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn into_statement(self, id: StatementId) -> Result<Statement, SignedFault> {
        let payload = |message: &str| SignedFault::Payload(message.to_owned());
        if self.reason.is_empty() || self.reason.len() > LONGEST_REASON {
            return Err(payload("`reason` is not 1 to 1024 bytes long"));
        }
        let timestamp = instant("timestamp", &self.timestamp)?.as_second();
        let target = self.target()?;
        let reason = self.reason.as_str().into();
        let Some(lifts) = &self.lifts else {
            return Ok(Statement::Revoke(Revocation { id, target, reason, timestamp }));
        };
        let lifts = lifts.parse().map_err(|_| payload("`lifts` is not the name of a revocation"))?;
        if !target.can_be_lifted() {
            return Err(payload("the revocation of a manifest or a certificate is never lifted"));
        }
        Ok(Statement::Lift(Lift { id, lifts, target, reason, timestamp }))
    }

    fn target(&self) -> Result<Target, SignedFault> {
        let named = [
            self.manifest_id.as_deref().map(|id| id.parse().ok().map(Target::Manifest)),
            self.device.as_deref().map(|id| id.parse().ok().map(Target::Device)),
            self.user.as_deref().map(|name| name.parse().ok().map(Target::User)),
            self.agent.as_deref().map(|name| name.parse().ok().map(Target::Agent)),
            self.certificate.as_ref().map(|certificate| certificate.target().map(Target::Certificate)),
            self.all.map(|all| all.then_some(Target::All)),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(Some(target)), None) => Ok(target),
            (Some(None), None) => Err(SignedFault::Payload("the target is malformed".into())),
            (None, _) => Err(SignedFault::Payload("it names no target".into())),
            (Some(_), Some(_)) => Err(SignedFault::Payload("it names more than one target".into())),
        }
    }
}

impl RawCertificate {
    fn new(target: &CertificateTarget) -> Self {
        match target {
            CertificateTarget::Fingerprint(digest) => Self::Fingerprint(to_hex(digest)),
            CertificateTarget::IssuerSerial { issuer, serial } => Self::IssuerSerial(RawIssuerSerial {
                issuer: STANDARD.encode(issuer),
                serial: to_hex(serial),
            }),
        }
    }

    fn target(&self) -> Option<CertificateTarget> {
        match self {
            Self::Fingerprint(text) => CertificateTarget::parse_fingerprint(text),
            Self::IssuerSerial(raw) => {
                CertificateTarget::parse_issuer_serial(&STANDARD.decode(&raw.issuer).ok()?, &raw.serial)
            }
        }
    }
}

fn nonce() -> Result<String, SigningKeyFault> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SigningKeyFault::Randomness)?;
    Ok(to_hex(&bytes))
}
