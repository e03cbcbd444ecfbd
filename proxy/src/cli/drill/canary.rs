//! The drill's own manifest, from being published to being withdrawn.

use std::time::Duration;

use config::{Destination, DeviceId, ManifestDraft, ManifestId, Source};
use http::{Method, StatusCode};
use policy_sync::control::api::views::{RevokeBody, RevokedView, WrittenView};
use policy_sync::{SigningKey, Target, sign_manifest};
use serde_json::json;

use crate::cli::control_client::{ControlClient, WhichControl};
use crate::cli::exit::Failure;
use crate::cli::policy;
use crate::cli::running::encode;

/// What the name of everything that a drill may touch begins with.
const PREFIX: &str = "cm-drill-";
/// The agent and the user of a drill.
pub(super) const AGENT: &str = "portcullis-drill";
/// How long the API may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A manifest that nobody needs.
pub(super) struct Canary {
    client: ControlClient,
    id: ManifestId,
    envelope: Vec<u8>,
}

impl Canary {
    pub(super) fn new(
        control: &WhichControl,
        key: &SigningKey,
        device: &DeviceId,
        destination: &Destination,
    ) -> Result<Self, Failure> {
        let name = format!("{PREFIX}{}", uuid::Uuid::now_v7().simple());
        let manifest = json!({
            "id": name, "agent": AGENT, "identity": {"user": AGENT, "device": device.as_str()},
            "capabilities": {"network": {
                "allow": [{"host": destination.to_string(), "tls": "none"}], "deny": ["*"], "sessions": 65_536,
            }},
            "ttl_seconds": 900,
        });
        let draft = ManifestDraft::read(&Source::new("the drill's manifest", manifest.to_string()))?;
        let envelope = sign_manifest(draft, policy::now(), key).to_json();
        let id = name.parse().map_err(Failure::new)?;
        Ok(Self { client: control.client()?, id, envelope })
    }

    pub(super) const fn id(&self) -> &ManifestId {
        &self.id
    }

    pub(super) fn publish(&self) -> Result<(), Failure> {
        self.only_own()?;
        let body = Some(self.envelope.clone());
        let answer = self.client.tell(Method::PUT, "/api/v1/manifests", body, PATIENCE)?;
        if answer.status == StatusCode::ACCEPTED {
            return Err(Failure::new("the manifest waits for approval, so nothing can be drilled").help(
                format_args!(
                    "let manifests of the agent {AGENT} need none: `policy.approval` of the settings"
                ),
            ));
        }
        answer.data::<WrittenView>().map(drop)
    }

    /// Revokes the manifest, and has the receipt.
    pub(super) fn revoke(&self, wait: Duration) -> Result<RevokedView, Failure> {
        self.only_own()?;
        let body = RevokeBody::new(&Target::Manifest(self.id.clone()), "a drill".into());
        let body = serde_json::to_vec(&body).map_err(Failure::new)?;
        let path = format!("/api/v1/revoke?wait_ms={}", wait.as_millis().clamp(500, 10_000));
        self.client.tell(Method::POST, &path, Some(body), wait + PATIENCE)?.data()
    }

    pub(super) fn withdraw(&self) -> Result<(), Failure> {
        self.only_own()?;
        let path = format!("/api/v1/manifests/{}", encode(self.id.as_str()));
        let answer = self.client.tell(Method::DELETE, &path, None, PATIENCE)?;
        if answer.status == StatusCode::NOT_FOUND { Ok(()) } else { answer.refused() }
    }

    /// Looked at before every request: a drill never touches what it has not made.
    fn only_own(&self) -> Result<(), Failure> {
        if self.id.as_str().starts_with(PREFIX) {
            Ok(())
        } else {
            Err(Failure::new(format_args!("{} is no manifest of a drill", self.id)))
        }
    }
}
