//! The policy at one moment: which manifests are live, what is revoked, and the bounds that the gateway sets.
//!
//! A snapshot never changes and is shared by everybody who decides. It is cheap to derive the next one from it, since they
//! share what did not change. An empty snapshot allows nothing.

use std::sync::Arc;
use std::time::Duration;

use config::{DenyList, DeviceId, Manifest, ManifestId, Mode, Rules};

use crate::keys::KeyId;
use crate::revocations::{Revocation, Revocations};
use crate::sharded::Sharded;

/// What the gateway's own settings impose on every manifest.
#[derive(Debug, Clone)]
pub struct PolicyBounds {
    /// Destinations that nobody reaches, whatever a manifest allows.
    pub deny: DenyList,
    /// Whether a manifest may be in report mode; otherwise it is enforced all the same.
    pub allow_report_mode: bool,
    /// The longest life of a manifest from its `issued_at`.
    pub max_ttl: Duration,
}

impl Default for PolicyBounds {
    /// Forbids no destination, forbids report mode, and caps a manifest's life at a day.
    fn default() -> Self {
        Self {
            deny: DenyList::default(),
            allow_report_mode: false,
            max_ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A manifest in force, with its rules compiled.
#[derive(Debug, Clone)]
pub struct LiveManifest {
    /// What was signed.
    pub manifest: Manifest,
    /// Its network rules, compiled.
    pub rules: Rules,
    /// When it was issued: seconds since 1970. Of two rivals the later one supersedes.
    pub issued_at: i64,
    /// From when on it allows nothing: seconds since 1970. Life as signed, capped by the gateway.
    pub expires_at: i64,
    /// SHA-256 of the signed payload.
    pub digest: [u8; 32],
    /// The keys that vouch for it.
    pub signers: Vec<KeyId>,
}

impl LiveManifest {
    /// Compiles a manifest issued at `issued_at` (seconds since 1970), its life capped at `max_ttl`.
    #[must_use]
    pub fn new(
        manifest: Manifest,
        issued_at: i64,
        digest: [u8; 32],
        signers: Vec<KeyId>,
        max_ttl: Duration,
    ) -> Self {
        let rules = Rules::compile(&manifest.network);
        let life = i64::try_from(manifest.ttl.min(max_ttl).as_secs()).unwrap_or(i64::MAX);
        let expires_at = issued_at.saturating_add(life);
        Self { manifest, rules, issued_at, expires_at, digest, signers }
    }

    /// Whether its life is over at `now`, in seconds since 1970.
    #[must_use]
    pub const fn expired(&self, now: i64) -> bool {
        now >= self.expires_at
    }
}

/// The policy at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Grows with every snapshot that is published, across restarts too.
    pub revision: u64,
    pub(crate) bounds: Arc<PolicyBounds>,
    pub(crate) by_device: Sharded<DeviceId, Arc<[Arc<LiveManifest>]>>,
    pub(crate) by_id: Sharded<ManifestId, Arc<LiveManifest>>,
    pub(crate) revocations: Revocations,
}

impl Snapshot {
    /// A snapshot in which nothing is allowed.
    #[must_use]
    pub fn empty(bounds: PolicyBounds) -> Self {
        Self {
            revision: 0,
            bounds: Arc::new(bounds),
            by_device: Sharded::new(),
            by_id: Sharded::new(),
            revocations: Revocations::new(),
        }
    }

    /// A snapshot of these manifests and revocations, taken at their word: whoever builds it has verified them. Of two
    /// manifests with one id, or for one agent on one device, the one issued later stays.
    #[must_use]
    pub fn build(
        revision: u64,
        bounds: PolicyBounds,
        manifests: impl IntoIterator<Item = LiveManifest>,
        revocations: impl IntoIterator<Item = Revocation>,
    ) -> Self {
        let mut snapshot = Self { revision, ..Self::empty(bounds) };
        for manifest in manifests {
            let rivals = snapshot.rivals(&manifest.manifest);
            if rivals.iter().all(|rival| rival.issued_at < manifest.issued_at) {
                rivals.iter().for_each(|rival| snapshot.remove(rival));
                snapshot.insert(Arc::new(manifest));
            }
        }
        for revocation in revocations {
            snapshot.revocations.insert(Arc::new(revocation));
        }
        snapshot
    }

    /// The live manifest of this id, revoked and expired ones included.
    #[must_use]
    pub fn manifest(&self, id: &ManifestId) -> Option<&Arc<LiveManifest>> {
        self.by_id.get(id)
    }

    /// The live manifests of a device, revoked and expired ones included; at most one per agent.
    #[must_use]
    pub fn manifests_of(&self, device: &DeviceId) -> &[Arc<LiveManifest>] {
        self.by_device.get(device).map_or(&[], |manifests| manifests)
    }

    /// Every live manifest, revoked and expired ones included, in no particular order.
    pub fn manifests(&self) -> impl Iterator<Item = &Arc<LiveManifest>> {
        self.by_id.iter().map(|(_, manifest)| manifest)
    }

    /// How many manifests are live.
    #[must_use]
    pub fn manifest_count(&self) -> usize {
        self.by_id.len()
    }

    /// What is revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What the gateway's settings impose.
    #[must_use]
    pub fn bounds(&self) -> &PolicyBounds {
        &self.bounds
    }

    /// Whether this manifest lets destinations off its list through, and the gateway agrees.
    #[must_use]
    pub fn reports_only(&self, manifest: &LiveManifest) -> bool {
        manifest.manifest.network.mode == Mode::Report && self.bounds.allow_report_mode
    }

    /// The manifests that this one would take the place of: of the same id, or for the same agent on the same device.
    pub(crate) fn rivals(&self, manifest: &Manifest) -> Vec<Arc<LiveManifest>> {
        let same_id = self.by_id.get(&manifest.id);
        let same_agent = self
            .manifests_of(&manifest.device)
            .iter()
            .find(|other| other.manifest.agent == manifest.agent && other.manifest.id != manifest.id);
        same_id.into_iter().chain(same_agent).cloned().collect()
    }

    pub(crate) fn insert(&mut self, live: Arc<LiveManifest>) {
        let device = live.manifest.device.clone();
        let others = self.manifests_of(&device).iter().cloned();
        let mut all: Vec<_> = others.chain([live.clone()]).collect();
        all.sort_by(|left, right| left.manifest.agent.cmp(&right.manifest.agent));
        self.by_device.insert(device, all.into());
        self.by_id.insert(live.manifest.id.clone(), live);
    }

    pub(crate) fn remove(&mut self, live: &Arc<LiveManifest>) {
        let device = &live.manifest.device;
        let rest: Vec<_> =
            self.manifests_of(device).iter().filter(|other| !Arc::ptr_eq(other, live)).cloned().collect();
        if rest.is_empty() {
            self.by_device.remove(device);
        } else {
            self.by_device.insert(device.clone(), rest.into());
        }
        self.by_id.remove(&live.manifest.id);
    }
}
