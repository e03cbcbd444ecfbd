//! The decision: may this device reach this destination now, and by whose authority.
//!
//! One pure function, used when a session opens, when the policy changes under a live session, by `explain` and by the
//! manifest linter. It opens nothing, waits for nothing and reads no clock. The order of its checks is fixed, so that
//! everybody who asks is told the same reason:
//!
//! 1. standing: everybody, this device, or a certificate of its chain is revoked;
//! 2. which manifest: the certificate's agent, else the agent asked for, else the device's only live manifest;
//! 3. the manifest's standing: it, its user or its agent is revoked, or its life is over;
//! 4. what the gateway forbids to everybody;
//! 5. the manifest's rules, the most specific one deciding;
//! 6. report mode, which lets through what no rule mentions, and nothing else.

use std::sync::Arc;

use certs::CertificateId;
use config::{AgentName, Destination, DeviceId, Match, Reason, RuleIndex};

use crate::snapshot::{LiveManifest, Snapshot};
use crate::target::Target;

/// Who asks, for what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The device that the certificate proves.
    pub device: &'a DeviceId,
    /// The agent that the certificate proves, if it names one; nothing the request says overrules it.
    pub certificate_agent: Option<&'a AgentName>,
    /// The agent that the request names. For a live session: the agent of the manifest it was opened under.
    pub requested_agent: Option<&'a AgentName>,
    /// The verified path, leaf first.
    pub certificates: &'a [CertificateId],
    /// Where to.
    pub destination: &'a Destination,
    /// Seconds since 1970.
    pub now: i64,
}

/// Let through, and by what.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The manifest that allows it.
    pub manifest: Arc<LiveManifest>,
    /// Its entry; none when report mode let it through.
    pub rule: Option<RuleIndex>,
    /// Why it would have been denied if report mode had not let it through.
    pub would_deny: Option<Reason>,
    /// The policy that decided.
    pub revision: u64,
}

/// Refused, and by what.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The pattern that decided, if one did.
    pub rule: Option<String>,
    /// The manifest that applied, if one did.
    pub manifest: Option<Arc<LiveManifest>>,
    /// The policy that decided.
    pub revision: u64,
}

impl Snapshot {
    /// Whether this device may do anything at all: neither everybody nor it nor a certificate of its chain is revoked.
    ///
    /// # Errors
    /// The reason why not.
    pub fn standing(&self, device: &DeviceId, certificates: &[CertificateId]) -> Result<(), Reason> {
        if self.revocations.contains(&Target::All) {
            return Err(Reason::AllRevoked);
        }
        if self.revocations.contains(&Target::Device(device.clone())) {
            return Err(Reason::DeviceRevoked);
        }
        if certificates.iter().any(|certificate| self.revocations.certificate(certificate)) {
            return Err(Reason::CertificateRevoked);
        }
        Ok(())
    }

    /// Decides, by the checks in the order of this module's list.
    ///
    /// # Errors
    /// A [`Denial`] with the reason, which is an answer like any other.
    pub fn decide(&self, asking: &Asking<'_>) -> Result<Grant, Denial> {
        self.standing(asking.device, asking.certificates).map_err(|reason| self.denial(reason, None))?;
        let manifest = self.select(asking).map_err(|reason| self.denial(reason, None))?;
        self.manifest_standing(manifest, asking.now).map_err(|reason| self.denial(reason, Some(manifest)))?;
        if let Some(pattern) = self.bounds.deny.matches(asking.destination) {
            return Err(self.denial_by(Reason::DestinationForbidden, pattern, manifest));
        }
        match manifest.rules.matching(asking.destination) {
            Match::Allow(rule) => Ok(self.grant(manifest, Some(rule), None)),
            Match::Deny(pattern) => Err(self.denial_by(Reason::DestinationDenied, pattern, manifest)),
            Match::Tie => Err(self.denial(Reason::DestinationAmbiguous, Some(manifest))),
            Match::Unlisted if self.reports_only(manifest) => {
                Ok(self.grant(manifest, None, Some(Reason::DestinationNotListed)))
            }
            Match::Unlisted => Err(self.denial(Reason::DestinationNotListed, Some(manifest))),
        }
    }

    /// Whether a manifest still has authority: neither it nor its user nor its agent is revoked, and it lives.
    ///
    /// # Errors
    /// The reason why not.
    pub fn manifest_standing(&self, manifest: &LiveManifest, now: i64) -> Result<(), Reason> {
        let named = &manifest.manifest;
        if self.revocations.contains(&Target::User(named.user.clone())) {
            return Err(Reason::UserRevoked);
        }
        if self.revocations.contains(&Target::Agent(named.agent.clone())) {
            return Err(Reason::AgentRevoked);
        }
        if self.revocations.contains(&Target::Manifest(named.id.clone())) {
            return Err(Reason::ManifestRevoked);
        }
        if manifest.expired(now) { Err(Reason::ManifestExpired) } else { Ok(()) }
    }

    fn select(&self, asking: &Asking<'_>) -> Result<&Arc<LiveManifest>, Reason> {
        let agent = asking.certificate_agent.or(asking.requested_agent);
        self.manifest_of(asking.device, agent, asking.now)
    }

    /// Which manifest applies to this agent of a device, whatever its standing; without an agent the only one in force.
    ///
    /// # Errors
    /// The reason why none does.
    pub(crate) fn manifest_of(
        &self,
        device: &DeviceId,
        agent: Option<&AgentName>,
        now: i64,
    ) -> Result<&Arc<LiveManifest>, Reason> {
        let manifests = self.manifests_of(device);
        if let Some(agent) = agent {
            return manifests.iter().find(|live| live.manifest.agent == *agent).ok_or(Reason::NoManifest);
        }
        let mut in_force = manifests.iter().filter(|live| self.manifest_standing(live, now).is_ok());
        match (in_force.next(), in_force.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(Reason::ManifestRequired),
            // None has authority. The latest of them says best why not.
            (None, _) => manifests.iter().max_by_key(|live| live.issued_at).ok_or(Reason::NoManifest),
        }
    }

    fn grant(
        &self,
        manifest: &Arc<LiveManifest>,
        rule: Option<RuleIndex>,
        would_deny: Option<Reason>,
    ) -> Grant {
        Grant { manifest: manifest.clone(), rule, would_deny, revision: self.revision }
    }

    fn denial(&self, reason: Reason, manifest: Option<&Arc<LiveManifest>>) -> Denial {
        Denial { reason, rule: None, manifest: manifest.cloned(), revision: self.revision }
    }

    fn denial_by(&self, reason: Reason, pattern: &config::Pattern, manifest: &Arc<LiveManifest>) -> Denial {
        Denial { rule: Some(pattern.to_string()), ..self.denial(reason, Some(manifest)) }
    }
}

#[cfg(test)]
mod tests;
