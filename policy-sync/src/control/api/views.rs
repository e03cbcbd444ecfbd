//! What the API takes and gives, as JSON. The same types make its description, and clients may use them.
//!
//! Nothing that is read here has been checked: bodies are read in `body`, field by field.

mod shapes;
mod standing;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::target::{CertificateTarget, Target, to_hex};

pub use shapes::{Binary, Count, True};
pub use standing::{GatewayView, GatewaysView, PolicyView, RecordEnvelope, RecordsView};

/// A signed envelope (DSSE), as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = Envelope)]
pub struct EnvelopeView {
    /// What it carries.
    #[schema(pattern = "^application/vnd\\.portcullis\\.(manifest|revocation)\\.v1\\+json$")]
    pub payload_type: String,
    /// The signed bytes, in base64.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})+$")]
    pub payload: String,
    /// Who signed them.
    #[schema(min_items = 1, max_items = 16)]
    pub signatures: Vec<SignatureView>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Signature)]
pub struct SignatureView {
    /// The name of the key.
    #[schema(min_length = 1, max_length = 128)]
    pub keyid: String,
    /// The Ed25519 signature, in base64.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]==$")]
    pub sig: String,
}

/// How a certificate is named: by the SHA-256 of its DER in hex, or by what its issuer calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Certificate)]
pub enum CertificateView {
    /// SHA-256 of its DER: 64 hex digits, with or without colons.
    Fingerprint(Fingerprint),
    /// Its issuer and serial number.
    IssuerSerial(IssuerSerial),
}

/// SHA-256 of a certificate's DER: 64 hex digits, with or without colons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){31})$")]
pub struct Fingerprint(pub String);

/// What a certificate's issuer calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerSerial {
    /// The issuer's name: DER in base64.
    #[schema(
        pattern = "^(?:[A-Za-z0-9+/]{4}){0,1364}(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$"
    )]
    pub issuer: String,
    /// The serial number in hex, with or without colons.
    #[schema(pattern = "^(?:(?:[0-9a-fA-F]{2}){1,64}|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){0,63})$")]
    pub serial: String,
}

/// What a revocation is aimed at: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Target)]
pub enum TargetView {
    /// One manifest, for ever.
    ManifestId(String),
    /// A device, with whatever certificate.
    Device(String),
    /// A user, on all devices.
    User(String),
    /// An agent, on all devices.
    Agent(String),
    /// One certificate, for ever.
    Certificate(CertificateView),
    /// Everybody.
    All(True),
}

impl From<&Target> for TargetView {
    fn from(target: &Target) -> Self {
        match target {
            Target::Manifest(id) => Self::ManifestId(id.to_string()),
            Target::Device(id) => Self::Device(id.to_string()),
            Target::User(name) => Self::User(name.to_string()),
            Target::Agent(name) => Self::Agent(name.to_string()),
            Target::Certificate(CertificateTarget::Fingerprint(digest)) => {
                Self::Certificate(CertificateView::Fingerprint(Fingerprint(to_hex(digest))))
            }
            Target::Certificate(CertificateTarget::IssuerSerial { issuer, serial }) => {
                use base64::Engine as _;
                let issuer = base64::engine::general_purpose::STANDARD.encode(issuer);
                let serial = to_hex(serial);
                Self::Certificate(CertificateView::IssuerSerial(IssuerSerial { issuer, serial }))
            }
            Target::All => Self::All(True(true)),
        }
    }
}

/// What is to be revoked: one target, a reason and perhaps a time, or what somebody has signed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RevokeBody {
    /// One manifest, for ever.
    Manifest(RevokeManifest),
    /// A device, with whatever certificate.
    Device(RevokeDevice),
    /// A user, on all devices.
    User(RevokeUser),
    /// An agent, on all devices.
    Agent(RevokeAgent),
    /// One certificate, for ever.
    Certificate(RevokeCertificate),
    /// Everybody.
    All(RevokeAll),
    /// What a revoker has signed.
    Signed(SignedBody),
}

impl RevokeBody {
    /// The body that asks for this.
    #[must_use]
    pub fn new(target: &Target, reason: String) -> Self {
        let timestamp = None;
        match TargetView::from(target) {
            TargetView::ManifestId(manifest_id) => {
                Self::Manifest(RevokeManifest { manifest_id, reason, timestamp })
            }
            TargetView::Device(device) => Self::Device(RevokeDevice { device, reason, timestamp }),
            TargetView::User(user) => Self::User(RevokeUser { user, reason, timestamp }),
            TargetView::Agent(agent) => Self::Agent(RevokeAgent { agent, reason, timestamp }),
            TargetView::Certificate(certificate) => {
                Self::Certificate(RevokeCertificate { certificate, reason, timestamp })
            }
            TargetView::All(all) => Self::All(RevokeAll { all, reason, timestamp }),
        }
    }
}

macro_rules! revoke_one {
    ($(#[$doc:meta])* $name:ident { $(#[$attribute:meta])* $field:ident: $kind:ty }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What loses its authority.
            $(#[$attribute])*
            pub $field: $kind,
            /// Why, for the record.
            #[schema(min_length = 1, max_length = 256)]
            pub reason: String,
            /// When, by the clock of whoever revokes; now if absent.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schema(format = DateTime, nullable = false)]
            pub timestamp: Option<String>,
        }
    };
}

revoke_one! {
    /// Revokes one manifest, for ever.
    RevokeManifest {
        #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
        manifest_id: String
    }
}
revoke_one! {
    /// Revokes a device, with whatever certificate.
    RevokeDevice {
        #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
        device: String
    }
}
revoke_one! {
    /// Revokes a user, on all devices.
    RevokeUser {
        #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
        user: String
    }
}
revoke_one! {
    /// Revokes an agent, on all devices.
    RevokeAgent {
        #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
        agent: String
    }
}
revoke_one! {
    /// Revokes one certificate, for ever.
    RevokeCertificate { certificate: CertificateView }
}
revoke_one! {
    /// Revokes everybody.
    RevokeAll { all: True }
}

/// What somebody has signed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedBody {
    /// The envelope.
    pub envelope: EnvelopeView,
}

/// The receipt for a revocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Revoked)]
pub struct RevokedView {
    /// Where it stands in the log.
    pub sequence: u64,
    /// The epoch of the log.
    pub epoch: u64,
    /// Its name, `rv-…`.
    pub revocation: String,
    /// What is revoked.
    pub target: TargetView,
    /// Whether it was in force before.
    pub repeated: bool,
    /// The gateways that enforce it and will not forget it.
    pub applied: Vec<AppliedView>,
    /// The gateways that are known and have not said so yet.
    pub pending: Vec<String>,
}

/// What one gateway did for a revocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Applied)]
pub struct AppliedView {
    /// The gateway.
    pub gateway: String,
    /// From the arrival at the gateway until no touched session could write, in milliseconds.
    pub latency_ms: f64,
    /// How many sessions it cut.
    pub sessions_cut: u64,
    /// How many bytes those had sent.
    pub upload_bytes: u64,
}

/// A revocation, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Revocation)]
pub struct RevocationView {
    /// Where it stands in the log.
    pub sequence: u64,
    /// Its name, `rv-…`.
    pub revocation: String,
    /// What is revoked.
    pub target: TargetView,
    /// Why.
    pub reason: String,
    /// When, by the clock of whoever revoked.
    pub timestamp: String,
    /// When it was written down.
    pub at: String,
    /// Who had it written down.
    pub by: String,
    /// The sequence of its lifting, if it was lifted.
    pub lifted: Option<u64>,
}

/// Revocations, in the order of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Revocations)]
pub struct RevocationsView {
    /// As many as were asked for.
    pub revocations: Vec<RevocationView>,
    /// What to ask for `after` to have more; absent at the end.
    pub next: Option<u64>,
}

/// Where something stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Written)]
pub struct WrittenView {
    /// The epoch of the log.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Whether it stood there before.
    pub repeated: bool,
}

/// A manifest, and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Manifest)]
pub struct ManifestView {
    /// Its name.
    pub id: String,
    /// Whose device.
    pub device: String,
    /// Which agent.
    pub agent: String,
    /// On whose behalf.
    pub user: String,
    /// SHA-256 of what was signed, in hex.
    pub digest: String,
    /// When it was issued.
    pub issued_at: String,
    /// From when on it allows nothing.
    pub expires_at: String,
    /// The keys that vouch for it.
    pub signers: Vec<String>,
    /// Where it stands in the log.
    pub sequence: u64,
    /// When it was written down.
    pub at: String,
    /// Who had it written down.
    pub by: String,
    /// The signed envelope, when one manifest was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub envelope: Option<EnvelopeView>,
}

/// Manifests that are live, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Manifests)]
pub struct ManifestsView {
    /// As many as were asked for.
    pub manifests: Vec<ManifestView>,
    /// What to ask for `after` to have more; absent at the end.
    pub next: Option<String>,
}

/// A manifest that others still have to sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Proposal)]
pub struct ProposalView {
    /// The name of the manifest.
    pub id: String,
    /// Whose device.
    pub device: String,
    /// Which agent.
    pub agent: String,
    /// On whose behalf.
    pub user: String,
    /// SHA-256 of what was signed, in hex.
    pub digest: String,
    /// Who submitted it; approved by others only.
    pub submitter: String,
    /// When.
    pub at: String,
    /// Who has approved it so far.
    pub approvers: Vec<String>,
    /// The keys that vouch for it so far.
    pub signers: Vec<String>,
    /// The roles of which a key has still to sign.
    pub missing: Vec<String>,
    /// The signed envelope, to which the others add their signatures.
    pub envelope: EnvelopeView,
}

/// Manifests that others still have to sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Proposals)]
pub struct ProposalsView {
    /// All of them.
    pub proposals: Vec<ProposalView>,
}

/// What became of a manifest that was submitted or approved, when it is not live yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Proposed)]
pub struct ProposedView {
    /// The name of the manifest.
    pub id: String,
    /// SHA-256 of what was signed, in hex.
    pub digest: String,
    /// The roles of which a key has still to sign.
    pub missing: Vec<String>,
}

/// The latest CRL of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Crl)]
pub struct CrlView {
    /// The issuer's name, for people.
    pub issuer: String,
    /// When it began to speak.
    pub this_update: String,
    /// When its successor is due.
    pub next_update: String,
    /// How many certificates are on it.
    pub entries: u64,
    /// SHA-256 of its DER, in hex.
    pub digest: String,
    /// Where it stands in the log.
    pub sequence: u64,
    /// When it was written down.
    pub at: String,
    /// Who had it written down.
    pub by: String,
}

/// The latest CRL of every issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Crls)]
pub struct CrlsView {
    /// All of them.
    pub crls: Vec<CrlView>,
}
