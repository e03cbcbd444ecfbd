//! What does the policy say about a budget? By the control plane's own copy of the manifest, whatever a gateway claims.
//!
//! Pure: nothing here waits or reads a clock.

use config::{AgentName, AllowEntry, DeviceId, Limit};

use super::LeaseRefusal;
use crate::lease::{LeaseRequest, MOST_GRANTED};
use crate::snapshot::{LiveManifest, Snapshot};

/// What holds for one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// When the manifest was issued: of two, the later one holds.
    pub(super) issued_at: i64,
    /// When its life is over.
    pub(super) expires_at: i64,
    /// How much may be spent in one window.
    pub(super) limit: Limit,
}

impl Terms {
    /// What `policy` says at `now` about the budget that is asked for. `silent` is the limit of a manifest that names none.
    pub(super) fn of(
        request: &LeaseRequest,
        policy: &Snapshot,
        silent: Limit,
        now: i64,
    ) -> Result<Self, LeaseRefusal> {
        let device: DeviceId = request.device.parse().map_err(|_| LeaseRefusal::Malformed("device"))?;
        let agent: AgentName = request.agent.parse().map_err(|_| LeaseRefusal::Malformed("agent"))?;
        if request.granted > MOST_GRANTED || request.returned > request.granted {
            return Err(LeaseRefusal::Malformed("granted"));
        }
        let live = policy.manifests_of(&device).iter().find(|live| live.manifest.agent == agent);
        let live = live.ok_or(LeaseRefusal::NoManifest)?;
        if live.issued_at < request.issued_at {
            return Err(LeaseRefusal::Behind);
        }
        policy.standing(&device, &[]).map_err(LeaseRefusal::NoAuthority)?;
        policy.manifest_standing(live, now).map_err(LeaseRefusal::NoAuthority)?;
        let limit = match &request.rule {
            None => live.manifest.network.upload_bytes.unwrap_or(silent),
            Some(rule) => entry(live, rule)?.upload_bytes.unwrap_or(Limit::Unlimited),
        };
        Ok(Self { issued_at: live.issued_at, expires_at: live.expires_at, limit })
    }
}

fn entry<'a>(live: &'a LiveManifest, rule: &str) -> Result<&'a AllowEntry, LeaseRefusal> {
    let entries = &live.manifest.network.allow;
    entries.iter().find(|entry| entry.pattern.to_string() == rule).ok_or(LeaseRefusal::NoRule)
}
