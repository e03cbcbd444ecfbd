//! What is in force here, and what would it decide?

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use config::{AgentName, Destination, DeviceId};
use policy_sync::{LiveManifest, Snapshot};
use serde::{Deserialize, Serialize};

use super::answers::Refusal;
use crate::explain::{self, Explanation, Question};
use crate::gateway::Gateway;

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its revision: whatever was published up to here is enforced.
    pub revision: u64,
    /// Since its source was last heard of; absent when never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// The manifests, by identifier.
    pub manifests: Vec<ManifestView>,
    /// What is revoked, by target.
    pub revocations: Vec<RevocationView>,
}

/// One manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestView {
    /// Its identifier.
    pub id: String,
    /// Whose it is.
    pub device: String,
    /// For which agent.
    pub agent: String,
    /// On whose behalf.
    pub user: String,
    /// `live`, or why it allows nothing.
    pub standing: String,
    /// Unix seconds.
    pub issued_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
    /// The keys that vouch for it.
    pub signers: Vec<String>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationView {
    /// Its name.
    pub id: String,
    /// What it is aimed at, such as `device:device-123`.
    pub target: String,
    /// Why, in the words of whoever revoked.
    pub reason: String,
    /// When, by the clock of whoever revoked: Unix seconds.
    pub timestamp: i64,
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<PolicyView> {
    let snapshot = gateway.feed.current();
    let now = gateway.clock.now();
    let mut manifests: Vec<_> = snapshot.manifests().map(|live| manifest(&snapshot, live, now)).collect();
    manifests.sort_unstable_by(|left, right| left.id.cmp(&right.id));
    let mut revocations: Vec<_> = snapshot
        .revocations()
        .iter()
        .map(|revocation| RevocationView {
            id: revocation.id.to_string(),
            target: revocation.target.to_string(),
            reason: revocation.reason.to_string(),
            timestamp: revocation.timestamp,
        })
        .collect();
    revocations.sort_unstable_by(|left, right| (&left.target, &left.id).cmp(&(&right.target, &right.id)));
    let age_ms = gateway.feed.age().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    Json(PolicyView { revision: snapshot.revision, age_ms, manifests, revocations })
}

fn manifest(snapshot: &Snapshot, live: &LiveManifest, now: i64) -> ManifestView {
    let standing = snapshot.manifest_standing(live, now).err().map_or("live", config::Reason::as_str);
    ManifestView {
        id: live.manifest.id.to_string(),
        device: live.manifest.device.to_string(),
        agent: live.manifest.agent.to_string(),
        user: live.manifest.user.to_string(),
        standing: standing.into(),
        issued_at: live.issued_at,
        expires_at: live.expires_at,
        signers: live.signers.iter().map(ToString::to_string).collect(),
    }
}

pub(super) async fn explain(
    State(gateway): State<Arc<Gateway>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Result<Json<Explanation>, Refusal> {
    let Query(query) = query.map_err(|_| Refusal::Query("the query cannot be decoded"))?;
    let (device, agent, destination) = asked(&query)?;
    let now = gateway.clock.now();
    let question = Question { device: &device, agent: agent.as_ref(), destination: &destination, now };
    let limits = &gateway.settings.load().limits;
    Ok(Json(explain::explain(&gateway.feed.current(), question, limits)))
}

/// An agent left empty is an agent not named.
fn asked(query: &HashMap<String, String>) -> Result<(DeviceId, Option<AgentName>, Destination), Refusal> {
    if query.keys().any(|name| !matches!(name.as_str(), "device" | "agent" | "destination")) {
        return Err(Refusal::Query("the parameters are device, agent and destination"));
    }
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let device =
        DeviceId::new(text("device")).map_err(|_| Refusal::Query("device is missing or malformed"))?;
    let agent = Some(text("agent")).filter(|agent| !agent.is_empty()).map(AgentName::new).transpose();
    let agent = agent.map_err(|_| Refusal::Query("agent is malformed"))?;
    let destination = Destination::parse_authority(text("destination").as_bytes());
    let destination =
        destination.map_err(|_| Refusal::Query("destination is missing or is not host:port"))?;
    Ok((device, agent, destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_understood_whole_or_refused() {
        for (pairs, understood) in [
            (&[("device", "d"), ("destination", "a.example:443")][..], true),
            (&[("device", "d"), ("agent", ""), ("destination", "a.example:443")], true),
            (&[("device", "d"), ("agent", "a"), ("destination", "[::1]:443")], true),
            (&[("device", "d"), ("agent", "a/b"), ("destination", "a.example:443")], false),
            (&[("device", "d"), ("destination", "a.example")], false),
            (&[("device", "d")], false),
            (&[("destination", "a.example:443")], false),
            (&[("device", "d"), ("destination", "a.example:443"), ("port", "1")], false),
        ] {
            let query = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(asked(&query).is_ok(), understood, "{pairs:?}");
        }
    }
}
