//! What differs between two snapshots, as far as sessions are concerned.
//!
//! A change names everything whose sessions have to be decided anew: too much costs a decision, too little would let a
//! session live on without authority. It says nothing of the outcome: a manifest that became wider is named too.

use config::{AgentName, DeviceId, ManifestId, UserName};
use std::sync::Arc;

use crate::snapshot::Snapshot;
use crate::target::{CertificateTarget, Target};

/// What the step from one snapshot to the next touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision that the step leads to.
    pub revision: u64,
    /// Whose sessions have to be decided anew.
    pub touched: Touched,
}

/// Whose sessions are touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Everybody's.
    All,
    /// Those of some subjects.
    Some(Subjects),
}

/// Lists without order; something can be touched through several of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    /// Devices that were revoked or lifted.
    pub devices: Vec<DeviceId>,
    /// Manifests that came, went, became another, were revoked, or were superseded.
    pub manifests: Vec<ManifestId>,
    /// Users that were revoked or lifted.
    pub users: Vec<UserName>,
    /// Agents that were revoked or lifted.
    pub agents: Vec<AgentName>,
    /// Certificates that were revoked.
    pub certificates: Vec<CertificateTarget>,
}

impl Subjects {
    /// Whether nobody is touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl Change {
    /// What differs between `old` and `new`, at the price of what differs.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        Self { revision: new.revision, touched: touched(old, new) }
    }
}

fn touched(old: &Snapshot, new: &Snapshot) -> Touched {
    if !Arc::ptr_eq(&old.bounds, &new.bounds) {
        return Touched::All;
    }
    let mut subjects = Subjects {
        manifests: old.by_id.differing(&new.by_id, |left, right| {
            left.digest == right.digest && left.expires_at == right.expires_at
        }),
        ..Subjects::default()
    };
    for target in old.revocations.differing(&new.revocations) {
        match target {
            Target::All => return Touched::All,
            Target::Device(device) => subjects.devices.push(device),
            Target::Manifest(manifest) => subjects.manifests.push(manifest),
            Target::User(user) => subjects.users.push(user),
            Target::Agent(agent) => subjects.agents.push(agent),
            Target::Certificate(certificate) => subjects.certificates.push(certificate),
        }
    }
    Touched::Some(subjects)
}

#[cfg(test)]
mod tests;
