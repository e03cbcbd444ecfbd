//! How the log and its gateways stand, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SignatureView;

/// How a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Gateway)]
pub struct GatewayView {
    /// Its name.
    pub name: String,
    /// Whether it was heard of within the last five seconds.
    pub connected: bool,
    /// The version of its program.
    pub version: String,
    /// The revision of its policy.
    pub revision: u64,
    /// The epoch of the log that it follows.
    pub epoch: u64,
    /// How far it has followed it.
    pub sequence: u64,
    /// How many records it is behind.
    pub behind: u64,
    /// How many sessions are live on it.
    pub sessions: u64,
    /// How old its policy is, in milliseconds; absent when it was never fresh.
    pub age_ms: Option<u64>,
    /// When it last reported; absent when never since this control plane runs.
    pub last_report: Option<String>,
}

/// Every gateway that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Gateways)]
pub struct GatewaysView {
    /// By name.
    pub gateways: Vec<GatewayView>,
}

/// What is in force, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Policy)]
pub struct PolicyView {
    /// The control plane that answers.
    pub control: String,
    /// The epoch of the log.
    pub epoch: u64,
    /// How far it reaches.
    pub sequence: u64,
    /// SHA-256 of its last record, in hex.
    pub digest: String,
    /// How many manifests are live.
    pub manifests: u64,
    /// How many targets are revoked.
    pub revoked: u64,
    /// How many issuers have a CRL.
    pub crls: u64,
    /// How many gateways are known.
    pub gateways: u64,
    /// How many of them are connected.
    pub gateways_connected: u64,
}

/// Records of the log, as they were signed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Records)]
pub struct RecordsView {
    /// Envelopes, in the order of the log.
    #[schema(value_type = Vec<RecordEnvelope>)]
    pub records: Vec<Box<serde_json::value::RawValue>>,
    /// How far the log reaches.
    pub sequence: u64,
}

/// The envelope of one record, signed by a control plane.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordEnvelope {
    /// `application/vnd.portcullis.record.v1+json`.
    pub payload_type: String,
    /// The record, in base64.
    pub payload: String,
    /// Who signed it.
    pub signatures: Vec<SignatureView>,
}
