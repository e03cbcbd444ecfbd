//! What an entry says, verified when somebody offers it, and taken at the log's word when it comes from there.

use std::sync::Arc;

use certs::{CRL_MAX_ENTRIES, CrlIssuers, CrlSummary};
use config::ManifestId;

use super::fault::SubmitFault;
use crate::envelope::{Envelope, PayloadType};
use crate::keys::KeyRing;
use crate::log::{Entry, LARGEST_CRL};
use crate::revocations::Revocation;
use crate::signed::{
    Approvals, Lift, SignedFault, SignedManifest, Statement, verify_manifest, verify_statement,
};

/// Whose word counts, and for what.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) ring: KeyRing,
    pub(super) approvals: Approvals,
    pub(super) crl_issuers: CrlIssuers,
}

/// What faults call a CRL that comes without a name.
const CRL: &str = "the crl";

/// What an entry says.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    Manifest(Box<SignedManifest>),
    Withdrawal { id: ManifestId, digest: [u8; 32] },
    Revocation(Arc<Revocation>),
    Lift(Lift),
    Crl { summary: CrlSummary, digest: [u8; 32] },
}

impl Meaning {
    /// Verifies an entry as a gateway would.
    pub(super) fn verify(entry: &Entry, authorities: &Authorities, now: i64) -> Result<Self, SubmitFault> {
        let envelope = |bytes: &[u8]| Envelope::read(bytes).map_err(SignedFault::from);
        Ok(match entry {
            Entry::Manifest(bytes) => {
                let signed = verify_manifest(&envelope(bytes)?, &authorities.ring, &authorities.approvals)?;
                Self::Manifest(Box::new(signed))
            }
            Entry::Revocation(bytes) | Entry::Lift(bytes) => {
                let statement = verify_statement(&envelope(bytes)?, &authorities.ring)?;
                Self::statement(entry, statement).map_err(SubmitFault::Malformed)?
            }
            Entry::Withdrawal { id, digest } => Self::Withdrawal { id: id.clone(), digest: *digest },
            Entry::Crl(der) => {
                within_bounds(der).map_err(SubmitFault::Malformed)?;
                let summary = authorities.crl_issuers.check(CRL, der, CRL_MAX_ENTRIES, now)?;
                Self::Crl { summary, digest: crate::log::sha256(der) }
            }
        })
    }

    /// Reads an entry of the log, whose signature stands for the entry's.
    pub(super) fn read(entry: &Entry, now: i64) -> Result<Self, String> {
        let said = |fault: SignedFault| fault.to_string();
        let envelope = |bytes: &[u8]| Envelope::read(bytes).map_err(|fault| fault.to_string());
        match entry {
            Entry::Manifest(bytes) => {
                let envelope = envelope(bytes)?;
                if envelope.payload_type() != PayloadType::Manifest {
                    return Err("it is no manifest".into());
                }
                let claimed = envelope.claimed_signers();
                let signed = SignedManifest::read(envelope.unverified_payload(), claimed).map_err(said)?;
                Ok(Self::Manifest(Box::new(signed)))
            }
            Entry::Revocation(bytes) | Entry::Lift(bytes) => {
                let statement = Statement::read(envelope(bytes)?.unverified_payload()).map_err(said)?;
                Self::statement(entry, statement)
            }
            Entry::Withdrawal { id, digest } => Ok(Self::Withdrawal { id: id.clone(), digest: *digest }),
            Entry::Crl(der) => Self::crl(der, now),
        }
    }

    fn statement(entry: &Entry, statement: Statement) -> Result<Self, String> {
        match (entry, statement) {
            (Entry::Revocation(_), Statement::Revoke(revocation)) => {
                Ok(Self::Revocation(Arc::new(revocation)))
            }
            (Entry::Lift(_), Statement::Lift(lift)) => Ok(Self::Lift(lift)),
            (entry, _) => Err(format!("the envelope carries no {}", entry.kind())),
        }
    }

    fn crl(der: &[u8], now: i64) -> Result<Self, String> {
        within_bounds(der)?;
        let summary = CrlSummary::read(CRL, der, CRL_MAX_ENTRIES, now);
        let summary = summary.map_err(|fault| fault.to_string())?;
        Ok(Self::Crl { summary, digest: crate::log::sha256(der) })
    }

    /// The word for this kind of entry.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Withdrawal { .. } => "withdrawal",
            Self::Revocation(_) => "revocation",
            Self::Lift(_) => "lift",
            Self::Crl { .. } => "crl",
        }
    }

    /// What it would touch: two entries with a subject in common are not written down together.
    pub(super) fn subjects(&self) -> Vec<String> {
        match self {
            Self::Manifest(signed) => {
                let manifest = &signed.manifest;
                vec![format!("id:{}", manifest.id), format!("for:{} {}", manifest.agent, manifest.device)]
            }
            Self::Withdrawal { id, .. } => vec![format!("id:{id}")],
            Self::Revocation(revocation) => vec![revocation.id.to_string()],
            Self::Lift(lift) => vec![lift.lifts.to_string()],
            Self::Crl { summary, .. } => vec![format!("crl:{}", crate::target::to_hex(&summary.issuer))],
        }
    }
}

fn within_bounds(der: &[u8]) -> Result<(), String> {
    if der.len() > LARGEST_CRL { Err(format!("the crl is larger than {LARGEST_CRL} bytes")) } else { Ok(()) }
}
