//! Values for the tests of several modules.

use std::sync::Arc;
use std::time::Duration;

use config::{Destination, DeviceId, ManifestDraft, Source};

use crate::keys::{KeyId, SigningKey};
use crate::revocations::{Revocation, StatementId};
use crate::snapshot::LiveManifest;
use crate::target::Target;

/// What a test changes about a manifest.
pub(crate) struct Draft<'a> {
    pub(crate) id: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) user: &'a str,
    pub(crate) device: &'a str,
    pub(crate) allow: &'a str,
    pub(crate) deny: &'a str,
    pub(crate) more: &'a str,
    pub(crate) ttl: u64,
}

impl Default for Draft<'_> {
    fn default() -> Self {
        Self {
            id: "cm-1",
            agent: "agent-1",
            user: "alice",
            device: "device-1",
            allow: r#""a.example.com""#,
            deny: "",
            more: "",
            ttl: 3600,
        }
    }
}

impl Draft<'_> {
    pub(crate) fn read(&self) -> ManifestDraft {
        let Self { id, agent, user, device, allow, deny, more, ttl } = self;
        let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
        let text = format!(
            r#"{{{id}"agent":"{agent}","identity":{{"user":"{user}","device":"{device}"}},"capabilities":{{"network":
            {{"allow":[{allow}],"deny":[{deny}]{more}}}}},"ttl_seconds":{ttl}}}"#
        );
        ManifestDraft::read(&Source::new("manifest.json", text)).unwrap()
    }

    /// Live from this second on.
    pub(crate) fn live(&self, issued_at: i64) -> LiveManifest {
        let manifest = self.read().identified(self.id.parse().unwrap());
        let digest = digest(&format!("{manifest:?}{issued_at}"));
        LiveManifest::new(manifest, issued_at, digest, Vec::new(), Duration::from_secs(86_400))
    }
}

fn digest(text: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).into()
}

/// A revocation whose name follows from its target.
pub(crate) fn revocation(target: Target) -> Revocation {
    let id = StatementId::of_digest(&digest(&target.to_string()));
    Revocation { id, target, reason: Arc::from("test"), timestamp: 0 }
}

pub(crate) fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

pub(crate) fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

pub(crate) fn destination(text: &str) -> Destination {
    Destination::parse_authority(text.as_bytes()).unwrap()
}
