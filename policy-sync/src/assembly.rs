//! The working set that snapshots are taken from: admits manifests, applies revocations, and remembers both.
//!
//! Pure bookkeeping without files or clocks. What it enforces: for each manifest id, and for each agent on each device,
//! only the latest manifest ever admitted is live; an older one never comes back, whatever happens to the newer one. A
//! revocation stays known for ever; only its lifting takes it out of force.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use config::{AgentName, DeviceId, Manifest, ManifestId};

use crate::revocations::{Revocation, StatementId};
use crate::signed::{Lift, SignedManifest, Statement};
use crate::snapshot::{LiveManifest, PolicyBounds, Snapshot};
use crate::target::Target;

/// How far ahead of the gateway's clock a manifest may be issued, in seconds.
pub(crate) const CLOCK_SKEW: i64 = 300;

/// The latest manifest admitted for an id, or for an agent on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it was issued: seconds since 1970.
    pub issued_at: i64,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
}

impl Mark {
    fn raise(&mut self, other: Self) {
        if self.issued_at < other.issued_at {
            *self = other;
        }
    }
}

/// What became of a manifest that is live now.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Whether it is later than everything before it, or was known already.
    pub new: bool,
    /// The manifests whose place it took.
    pub displaced: Vec<Arc<LiveManifest>>,
}

/// Why a manifest is not admitted although its signatures hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// It was issued more than five minutes from now.
    #[error("it was issued in the future; it will be looked at again")]
    FromTheFuture,
    /// A later one was admitted, now or before a restart.
    #[error("a later manifest has superseded it")]
    Superseded,
    /// Another one was issued in the same second.
    #[error("another manifest was issued in the very same second; sign one of them again")]
    Conflict,
}

/// The working set.
#[derive(Debug, Clone)]
pub struct Assembly {
    working: Snapshot,
    by_id: HashMap<ManifestId, Mark>,
    by_agent: HashMap<(AgentName, DeviceId), Mark>,
    /// How many sources hold the manifest of this digest.
    holders: HashMap<[u8; 32], usize>,
    lifted: HashSet<(StatementId, Target)>,
    changed: bool,
}

impl Assembly {
    /// An empty set, whose first snapshot will have the revision after this one.
    #[must_use]
    pub fn new(revision: u64, bounds: PolicyBounds) -> Self {
        Self {
            working: Snapshot { revision, ..Snapshot::empty(bounds) },
            by_id: HashMap::new(),
            by_agent: HashMap::new(),
            holders: HashMap::new(),
            lifted: HashSet::new(),
            changed: true,
        }
    }

    /// Offers a manifest that one source holds. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`NotAdmitted`] says why it is not live; nothing has changed then.
    pub fn admit(&mut self, signed: SignedManifest, now: i64) -> Result<Admission, NotAdmitted> {
        if signed.issued_at > now.saturating_add(CLOCK_SKEW) {
            return Err(NotAdmitted::FromTheFuture);
        }
        let mark = Mark { issued_at: signed.issued_at, digest: signed.digest };
        let mut admission = self.compare(&signed, mark)?;
        *self.holders.entry(signed.digest).or_default() += 1;
        self.remember(&signed.manifest.id, &signed.manifest.agent, &signed.manifest.device, mark);
        if self.working.manifest(&signed.manifest.id).is_some_and(|live| live.digest == signed.digest) {
            return Ok(admission);
        }
        admission.displaced = self.working.rivals(&signed.manifest);
        admission.displaced.iter().for_each(|rival| self.working.remove(rival));
        let SignedManifest { manifest, issued_at, digest, signers } = signed;
        let live = LiveManifest::new(manifest, issued_at, digest, signers, self.working.bounds.max_ttl);
        self.working.insert(Arc::new(live));
        self.changed = true;
        Ok(admission)
    }

    /// What [`Assembly::admit`] would say, without doing it. True when it would be new.
    ///
    /// # Errors
    /// As [`Assembly::admit`].
    pub(crate) fn would_admit(&self, signed: &SignedManifest, now: i64) -> Result<bool, NotAdmitted> {
        if signed.issued_at > now.saturating_add(CLOCK_SKEW) {
            return Err(NotAdmitted::FromTheFuture);
        }
        let mark = Mark { issued_at: signed.issued_at, digest: signed.digest };
        Ok(self.compare(signed, mark)?.new)
    }

    fn compare(&self, signed: &SignedManifest, mark: Mark) -> Result<Admission, NotAdmitted> {
        let key = (signed.manifest.agent.clone(), signed.manifest.device.clone());
        let mut new = false;
        for known in [self.by_id.get(&signed.manifest.id), self.by_agent.get(&key)] {
            match known {
                Some(known) if *known == mark => {}
                Some(known) if known.issued_at > mark.issued_at => return Err(NotAdmitted::Superseded),
                Some(known) if known.issued_at == mark.issued_at => return Err(NotAdmitted::Conflict),
                _ => new = true,
            }
        }
        Ok(Admission { new, displaced: Vec::new() })
    }

    /// Notes that this manifest was admitted once: nothing older of its id, or for its agent on its device, ever is again.
    pub fn remember(&mut self, id: &ManifestId, agent: &AgentName, device: &DeviceId, mark: Mark) {
        self.remember_id(id.clone(), mark);
        self.remember_agent(agent.clone(), device.clone(), mark);
    }

    /// Notes that one source no longer holds the manifest of this digest. With its last holder it stops being live; says
    /// which one that was.
    pub fn withdraw(&mut self, id: &ManifestId, digest: &[u8; 32]) -> Option<Arc<LiveManifest>> {
        let holders = self.holders.get_mut(digest)?;
        *holders -= 1;
        if *holders > 0 {
            return None;
        }
        self.holders.remove(digest);
        let live = self.working.manifest(id).filter(|live| live.digest == *digest)?.clone();
        self.working.remove(&live);
        self.changed = true;
        Some(live)
    }

    /// Applies a verified statement; false when it was known before.
    pub fn apply(&mut self, statement: &Statement) -> bool {
        match statement {
            Statement::Revoke(revocation) => self.revoke(revocation),
            Statement::Lift(lift) => self.lift(lift),
        }
    }

    fn revoke(&mut self, revocation: &Revocation) -> bool {
        let new = !self.undone(revocation) && self.working.revocations.insert(Arc::new(revocation.clone()));
        self.changed |= new;
        new
    }

    fn lift(&mut self, lift: &Lift) -> bool {
        if !lift.target.can_be_lifted() || !self.lifted.insert((lift.lifts, lift.target.clone())) {
            return false;
        }
        self.changed |= self.working.revocations.remove(lift.lifts, &lift.target);
        true
    }

    /// Whether this very statement was applied before, in force or undone.
    #[must_use]
    pub fn knows(&self, statement: &Statement) -> bool {
        match statement {
            Statement::Revoke(revocation) => {
                let in_force = self.working.revocations.aimed_at(&revocation.target);
                in_force.iter().any(|known| known.id == revocation.id) || self.undone(revocation)
            }
            Statement::Lift(lift) => self.lifted.contains(&(lift.lifts, lift.target.clone())),
        }
    }

    fn undone(&self, revocation: &Revocation) -> bool {
        self.lifted.contains(&(revocation.id, revocation.target.clone()))
    }

    /// Puts other bounds in force; every life is capped anew.
    pub fn rebound(&mut self, bounds: PolicyBounds) {
        let manifests: Vec<_> = self.working.manifests().cloned().collect();
        self.working.bounds = Arc::new(bounds);
        for old in manifests {
            let LiveManifest { manifest, issued_at, digest, signers, .. } = (*old).clone();
            let live = LiveManifest::new(manifest, issued_at, digest, signers, self.working.bounds.max_ttl);
            self.working.remove(&old);
            self.working.insert(Arc::new(live));
        }
        self.changed = true;
    }

    /// What is in the set now, as the last snapshot had it or changed since.
    #[must_use]
    pub fn working(&self) -> &Snapshot {
        &self.working
    }

    /// The next snapshot, with the next revision, if anything has changed since the last one.
    pub fn next_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.working.revision += 1;
        Some(Arc::new(self.working.clone()))
    }

    /// Every mark of an agent on a device, and every mark of an id that is not older than `oldest`.
    pub(crate) fn marks(&self, oldest: i64) -> impl Iterator<Item = MarkOf<'_>> {
        let by_id = self.by_id.iter().filter(move |(_, mark)| mark.issued_at >= oldest);
        let by_id = by_id.map(|(id, mark)| MarkOf::Id(id, *mark));
        by_id.chain(self.by_agent.iter().map(|((agent, device), mark)| MarkOf::Agent(agent, device, *mark)))
    }

    pub(crate) fn remember_id(&mut self, id: ManifestId, mark: Mark) {
        self.by_id.entry(id).or_insert(mark).raise(mark);
    }

    pub(crate) fn remember_agent(&mut self, agent: AgentName, device: DeviceId, mark: Mark) {
        self.by_agent.entry((agent, device)).or_insert(mark).raise(mark);
    }

    /// The two marks that a manifest left.
    pub(crate) fn marks_of(&self, manifest: &Manifest) -> Vec<MarkOf<'_>> {
        let by_id = self.by_id.get_key_value(&manifest.id).map(|(id, mark)| MarkOf::Id(id, *mark));
        let by_agent = self.by_agent.get_key_value(&(manifest.agent.clone(), manifest.device.clone()));
        let by_agent = by_agent.map(|((agent, device), mark)| MarkOf::Agent(agent, device, *mark));
        by_id.into_iter().chain(by_agent).collect()
    }

    /// Has the next snapshot follow this revision.
    pub(crate) fn begin_at(&mut self, revision: u64) {
        self.working.revision = self.working.revision.max(revision);
    }

    /// Has a next snapshot come although nothing has changed.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    pub(crate) fn lifts(&self) -> impl Iterator<Item = &(StatementId, Target)> {
        self.lifted.iter()
    }
}

/// One mark, and what it is a mark of.
pub(crate) enum MarkOf<'a> {
    Id(&'a ManifestId, Mark),
    Agent(&'a AgentName, &'a DeviceId, Mark),
}

#[cfg(test)]
mod tests;
