//! Manifests that others still have to sign: kept beside the log until they have, then written into it.
//!
//! A proposal is an envelope that holds as far as it goes: its author has signed it, and roles that the settings ask for are
//! still missing. Others add signatures over the very same bytes; whoever submitted it does not approve it, and nobody
//! approves it twice. Kept in cells of the transport, so that every control plane of a deployment has the same ones. A
//! proposal gives nobody any authority: what counts is the log, which takes the manifest only with every signature.

use bytes::Bytes;
use config::ManifestId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fault::SubmitFault;
use super::meaning::Authorities;
use super::plane::{Plane, Written};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyId, Role};
use crate::log::Entry;
use crate::signed::{SignedFault, SignedManifest};
use crate::target::to_hex;
use crate::transport::{AppendFault, CellVersion, TransportFault};

/// What the keys of the cells begin with.
const CELLS: &str = "proposal/";
/// How many proposals are kept at once.
const MOST: usize = 1000;
/// How long a proposal is kept.
const LONGEST_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often a change is tried against others that change the same proposal.
const TRIES: usize = 5;

/// A manifest that others still have to sign.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The envelope with the signatures so far.
    pub envelope: Envelope,
    /// What it says, and the keys that vouch for it so far.
    pub signed: SignedManifest,
    /// Who submitted it.
    pub submitter: String,
    /// When.
    pub at: Timestamp,
    /// Who has approved it so far.
    pub approvers: Vec<String>,
    /// The roles of which a key has still to sign.
    pub missing: Vec<Role>,
    version: CellVersion,
}

/// What became of a manifest that was submitted or approved.
#[derive(Debug, Clone)]
pub enum Proposed {
    /// It has all its signatures, and is in the log.
    Live(ManifestId, Written),
    /// It has not.
    Waiting(Box<SignedManifest>, Vec<Role>),
}

/// Why a manifest is neither live nor proposed.
#[derive(Debug, thiserror::Error)]
pub enum ProposalFault {
    /// The control plane does not take it.
    #[error(transparent)]
    Submit(#[from] SubmitFault),
    /// There is no proposal with these bytes under this name.
    #[error("there is no such proposal")]
    Unknown,
    /// Whoever submitted or approved it before.
    #[error("it is his own proposal, or he has approved it before")]
    Own,
    /// The envelope brings no signature that was not there before.
    #[error("the envelope adds no signature of a known key")]
    NothingNew,
    /// As many proposals as are kept wait already.
    #[error("too many manifests wait for approval")]
    TooMany,
    /// Cells cannot be read or written.
    #[error(transparent)]
    Cell(#[from] AppendFault),
}

impl From<TransportFault> for ProposalFault {
    fn from(fault: TransportFault) -> Self {
        Self::Cell(fault.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProposal {
    envelope: Box<RawValue>,
    submitter: String,
    at: Timestamp,
    approvers: Vec<String>,
}

/// Submits a manifest: into the log if it has all its signatures, beside it if only approvals are missing.
///
/// # Errors
/// [`ProposalFault`].
pub async fn submit(plane: &Plane, envelope: Bytes, by: &str) -> Result<Proposed, ProposalFault> {
    let read = Envelope::read(&envelope).map_err(|fault| SubmitFault::from(SignedFault::from(fault)))?;
    let (signed, missing) = vouched(&read, &plane.authorities()).map_err(SubmitFault::from)?;
    if missing.is_empty() {
        let id = signed.manifest.id.clone();
        return Ok(Proposed::Live(id, plane.submit(Entry::Manifest(envelope), by).await?));
    }
    if missing.contains(&Role::Author) {
        return Err(SubmitFault::Refused(SignedFault::Roles(vec![Role::Author])).into());
    }
    let kept = cell(plane, &signed.digest).await?;
    if let Some(known) = kept {
        return Ok(Proposed::Waiting(Box::new(known.signed), known.missing));
    }
    if list(plane).await?.len() >= MOST {
        return Err(ProposalFault::TooMany);
    }
    let proposal = Proposal {
        envelope: read,
        signed,
        submitter: by.to_owned(),
        at: Timestamp::now(),
        approvers: Vec::new(),
        missing,
        version: 0,
    };
    match keep(plane, &proposal, None).await {
        // Taken: the same manifest was submitted at the same moment.
        Ok(()) | Err(AppendFault::Taken) => {
            Ok(Proposed::Waiting(Box::new(proposal.signed), proposal.missing))
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Adds the signatures of an envelope to the proposal with the same payload, and submits it when none is missing any more.
///
/// # Errors
/// [`ProposalFault`].
pub async fn approve(
    plane: &Plane,
    id: &ManifestId,
    envelope: &[u8],
    by: &str,
) -> Result<Proposed, ProposalFault> {
    let added = Envelope::read(envelope).map_err(|fault| SubmitFault::from(SignedFault::from(fault)))?;
    let (said, _) = vouched(&added, &plane.authorities()).map_err(SubmitFault::from)?;
    if said.manifest.id != *id {
        return Err(ProposalFault::Unknown);
    }
    for _ in 0..TRIES {
        let mut proposal = cell(plane, &said.digest).await?.ok_or(ProposalFault::Unknown)?;
        if proposal.submitter == by || proposal.approvers.iter().any(|approver| approver == by) {
            return Err(ProposalFault::Own);
        }
        if !said.signers.iter().any(|signer| !proposal.signed.signers.contains(signer)) {
            return Err(ProposalFault::NothingNew);
        }
        proposal.envelope.add_signatures_of(&added);
        let whole = vouched(&proposal.envelope, &plane.authorities()).map_err(SubmitFault::from)?;
        (proposal.signed, proposal.missing) = whole;
        proposal.approvers.push(by.to_owned());
        if proposal.missing.is_empty() {
            let by = format!("{}, approved by {}", proposal.submitter, proposal.approvers.join(", "));
            let entry = Entry::Manifest(proposal.envelope.to_json().into());
            let written = plane.submit(entry, &by).await?;
            remove(plane, &proposal).await?;
            return Ok(Proposed::Live(id.clone(), written));
        }
        match keep(plane, &proposal, Some(proposal.version)).await {
            Ok(()) => return Ok(Proposed::Waiting(Box::new(proposal.signed), proposal.missing)),
            Err(AppendFault::Taken) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(AppendFault::Taken.into())
}

/// Every proposal, the oldest first. Those that were kept for too long go.
///
/// # Errors
/// When cells cannot be read.
pub async fn list(plane: &Plane) -> Result<Vec<Proposal>, ProposalFault> {
    let mut proposals = Vec::new();
    for key in plane.transport().cells(CELLS).await? {
        let Some((version, value)) = plane.transport().cell(&key).await? else { continue };
        let read = read(plane, version, &value);
        match read.filter(|proposal| Timestamp::now().duration_since(proposal.at) < LONGEST_KEPT) {
            Some(proposal) => proposals.push(proposal),
            // Nobody can approve it any more; if another control plane removes it first, so much the better.
            None => drop(plane.transport().set_cell(&key, Some(version), Bytes::new()).await),
        }
    }
    proposals.sort_by_key(|proposal| proposal.at);
    Ok(proposals)
}

/// Takes back every proposal of this name; false when there is none.
///
/// # Errors
/// When cells cannot be read or written.
pub async fn withdraw(plane: &Plane, id: &ManifestId) -> Result<bool, ProposalFault> {
    let mut found = false;
    for proposal in list(plane).await?.iter().filter(|proposal| proposal.signed.manifest.id == *id) {
        remove(plane, proposal).await?;
        found = true;
    }
    Ok(found)
}

/// What an envelope says, who vouches for it, and the roles of which nobody does yet.
fn vouched(
    envelope: &Envelope,
    authorities: &Authorities,
) -> Result<(SignedManifest, Vec<Role>), SignedFault> {
    let verified = envelope.verify(PayloadType::Manifest, &authorities.ring)?;
    let signed = SignedManifest::read(verified.payload, verified.signers)?;
    let missing = missing(&signed.signers, authorities, &signed);
    Ok((signed, missing))
}

/// As few roles as make the others covered, each by a key of its own.
fn missing(signers: &[KeyId], authorities: &Authorities, signed: &SignedManifest) -> Vec<Role> {
    let mut covered: Vec<Role> = Vec::new();
    let mut missing = Vec::new();
    for role in authorities.approvals.roles(&signed.manifest.agent) {
        covered.push(role);
        if !authorities.ring.cover(signers, &covered) {
            covered.pop();
            missing.push(role);
        }
    }
    missing
}

fn key(digest: &[u8; 32]) -> String {
    format!("{CELLS}{}", to_hex(digest))
}

async fn cell(plane: &Plane, digest: &[u8; 32]) -> Result<Option<Proposal>, ProposalFault> {
    let cell = plane.transport().cell(&key(digest)).await?;
    Ok(cell.and_then(|(version, value)| read(plane, version, &value)))
}

/// A cell as a proposal. What is not one under the keys of today is none: it could not be approved either.
fn read(plane: &Plane, version: CellVersion, value: &[u8]) -> Option<Proposal> {
    let raw: RawProposal = serde_json::from_slice(value).ok()?;
    let envelope = Envelope::read(raw.envelope.get().as_bytes()).ok()?;
    let (signed, missing) = vouched(&envelope, &plane.authorities()).ok()?;
    let RawProposal { submitter, at, approvers, .. } = raw;
    Some(Proposal { envelope, signed, submitter, at, approvers, missing, version })
}

async fn keep(plane: &Plane, proposal: &Proposal, expected: Option<CellVersion>) -> Result<(), AppendFault> {
    let json = String::from_utf8_lossy(&proposal.envelope.to_json()).into_owned();
    let raw = RawValue::from_string(json).map(|envelope| RawProposal {
        envelope,
        submitter: proposal.submitter.clone(),
        at: proposal.at,
        approvers: proposal.approvers.clone(),
    });
    let value =
        raw.and_then(|raw| serde_json::to_vec(&raw)).map_err(|fault| TransportFault(fault.to_string()))?;
    plane.transport().set_cell(&key(&proposal.signed.digest), expected, value.into()).await
}

async fn remove(plane: &Plane, proposal: &Proposal) -> Result<(), ProposalFault> {
    let key = key(&proposal.signed.digest);
    match plane.transport().set_cell(&key, Some(proposal.version), Bytes::new()).await {
        // Taken: another control plane has done it, or will.
        Ok(()) | Err(AppendFault::Taken) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}
