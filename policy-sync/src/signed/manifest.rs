//! Manifests as signed payloads: the fields of a manifest and `issued_at`, in strict JSON.
//!
//! A manifest without `id` gets `cm-` and 12 hex digits of its payload's SHA-256. Every manifest needs the signature of
//! an author, and those of further roles where the gateway's settings ask for approval, each by a key of its own.

use config::settings::{Approval, ApprovalRole};
use config::{AgentName, IssuedManifest, Manifest, ManifestDraft, ManifestId};

use super::{SignedFault, sha256};
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyId, KeyRing, Role, SigningKey};
use crate::target::to_hex;

/// A manifest whose signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    /// What was signed.
    pub manifest: Manifest,
    /// When it was issued: seconds since 1970.
    pub issued_at: i64,
    /// SHA-256 of the payload.
    pub digest: [u8; 32],
    /// The keys that vouch for it.
    pub signers: Vec<KeyId>,
}

/// Whose manifests need more than their author's signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approvals(Vec<Approval>);

impl Approvals {
    /// The approvals that the settings list.
    #[must_use]
    pub fn new(approvals: &[Approval]) -> Self {
        Self(approvals.to_vec())
    }

    /// The roles that a manifest for this agent needs, each by a key of its own.
    #[must_use]
    pub fn roles(&self, agent: &AgentName) -> Vec<Role> {
        let concerned =
            self.0.iter().filter(|approval| approval.agent.as_ref().is_none_or(|named| named == agent));
        let mut roles = vec![Role::Author];
        for role in concerned.flat_map(|approval| &approval.roles) {
            let role = match role {
                ApprovalRole::Approver => Role::Approver,
                ApprovalRole::Security => Role::Security,
            };
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        roles
    }
}

/// Signs a manifest as issued at `issued_at`, in seconds since 1970, by its first key. Others add their signatures to the
/// envelope. It has to be later than any other for the same agent and device, by a second at least, to supersede them.
#[must_use]
pub fn sign_manifest(draft: ManifestDraft, issued_at: i64, key: &SigningKey) -> Envelope {
    let payload = IssuedManifest { draft, issued_at }.to_json().into_bytes();
    Envelope::sign(PayloadType::Manifest, payload, key)
}

/// Verifies a manifest: the signatures, the roles they cover, and everything the payload says.
///
/// # Errors
/// [`SignedFault`] when any of it is not in order.
pub fn verify_manifest(
    envelope: &Envelope,
    ring: &KeyRing,
    approvals: &Approvals,
) -> Result<SignedManifest, SignedFault> {
    let verified = envelope.verify(PayloadType::Manifest, ring)?;
    let signed = SignedManifest::read(verified.payload, verified.signers)?;
    let roles = approvals.roles(&signed.manifest.agent);
    if ring.cover(&signed.signers, &roles) { Ok(signed) } else { Err(SignedFault::Roles(roles)) }
}

impl SignedManifest {
    /// Reads a payload, whoever signed it: for showing what an envelope says. With `signers` empty, nobody vouches for it.
    ///
    /// # Errors
    /// [`SignedFault::Manifest`] with every problem of the payload.
    pub fn read(payload: &[u8], signers: Vec<KeyId>) -> Result<Self, SignedFault> {
        let IssuedManifest { draft, issued_at } =
            IssuedManifest::read(payload).map_err(SignedFault::Manifest)?;
        let digest = sha256(payload);
        let id = draft.id.clone().map_or_else(|| given_id(&digest), Ok)?;
        Ok(Self { manifest: draft.identified(id), issued_at, digest, signers })
    }
}

fn given_id(digest: &[u8; 32]) -> Result<ManifestId, SignedFault> {
    let digits: String = to_hex(digest).chars().take(12).collect();
    let id = format!("cm-{digits}").parse();
    id.map_err(|_| SignedFault::Payload("no identifier could be given".into()))
}
