//! What the log comes to: manifests, revocations, liftings and CRLs, each with its place in the log.
//!
//! Follows from the log alone, so that every control plane comes to the same: a manifest's age is measured against the moment
//! at which its record was written down. Envelopes stay with the transport. Nothing here waits or reads a clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use certs::CertificateId;
use config::ManifestId;
use jiff::Timestamp;

use super::crls::{CrlNote, Crls};
use super::fault::SubmitFault;
use super::meaning::Meaning;
use crate::assembly::Assembly;
use crate::log::{Noted, Position};
use crate::revocations::{Revocation, StatementId};
use crate::signed::{Lift, SignedManifest, Statement};
use crate::snapshot::{PolicyBounds, Snapshot};

/// How much longer than the longest life of a manifest a withdrawn one is remembered, in seconds.
const AFTERLIFE: i64 = 24 * 60 * 60;

/// Where a manifest stands in the log.
#[derive(Debug, Clone)]
pub struct ManifestNote {
    /// The sequence of its record.
    pub sequence: u64,
    /// When it was written down.
    pub at: Timestamp,
    /// Who had it written down.
    pub by: Arc<str>,
    /// The chunk of the latest snapshot that has its envelope; `None` while its record has.
    pub(super) chunk: Option<[u8; 32]>,
}

/// A revocation, and where it stands in the log.
#[derive(Debug, Clone)]
pub struct RevocationNote {
    /// What is revoked, and why.
    pub revocation: Arc<Revocation>,
    /// When it was written down.
    pub at: Timestamp,
    /// Who had it written down.
    pub by: Arc<str>,
    /// The sequence of its lifting, if it was lifted.
    pub lifted: Option<u64>,
}

/// A manifest that is not live any more, and must not make room for an older one.
#[derive(Debug, Clone, Copy)]
struct Withdrawn {
    manifest: u64,
    withdrawal: u64,
    issued_at: i64,
}

/// What the log comes to at one position.
#[derive(Debug)]
pub struct State {
    position: Position,
    assembly: Assembly,
    manifests: HashMap<[u8; 32], ManifestNote>,
    withdrawn: HashMap<[u8; 32], Withdrawn>,
    revocations: BTreeMap<u64, RevocationNote>,
    sequences: HashMap<StatementId, u64>,
    lifts: HashMap<StatementId, u64>,
    crls: Arc<Crls>,
    /// The sequences of lifted revocations, to be forgotten with the next snapshot.
    lifted: Vec<u64>,
    /// One copy of every name of who wrote something.
    names: HashSet<Arc<str>>,
}

/// What an entry would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something.
    New,
    /// Nothing: the record of this sequence has done it.
    Known(u64),
}

/// An entry's place in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
    pub(super) by: &'a str,
    pub(super) chunk: Option<[u8; 32]>,
}

impl<'a> Place<'a> {
    pub(super) fn of(noted: &'a Noted, chunk: [u8; 32]) -> Self {
        Self { sequence: noted.sequence, at: noted.at, by: &noted.by, chunk: Some(chunk) }
    }
}

impl State {
    pub(super) fn new(position: Position, bounds: PolicyBounds) -> Self {
        Self {
            position,
            assembly: Assembly::new(0, bounds),
            manifests: HashMap::new(),
            withdrawn: HashMap::new(),
            revocations: BTreeMap::new(),
            sequences: HashMap::new(),
            lifts: HashMap::new(),
            crls: Arc::default(),
            lifted: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// How far the log reaches.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Manifests that are live and revocations that are in force, as gateways have them. A clone is cheap.
    #[must_use]
    pub fn policy(&self) -> &Snapshot {
        self.assembly.working()
    }

    /// Where the live manifest with this digest stands in the log.
    #[must_use]
    pub fn manifest(&self, digest: &[u8; 32]) -> Option<&ManifestNote> {
        self.manifests.get(digest)
    }

    /// The revocation of this sequence, lifted or not.
    #[must_use]
    pub fn revocation(&self, sequence: u64) -> Option<&RevocationNote> {
        self.revocations.get(&sequence)
    }

    /// The sequence of the revocation of this name.
    #[must_use]
    pub fn sequence_of(&self, revocation: StatementId) -> Option<u64> {
        self.sequences.get(&revocation).copied()
    }

    /// Every revocation after the sequence `after`, lifted ones included, in the order of the log. Lifted ones are forgotten
    /// some time after the lifting.
    pub fn revocations(&self, after: u64) -> impl DoubleEndedIterator<Item = (u64, &RevocationNote)> {
        self.revocations.range(after.saturating_add(1)..).map(|(sequence, note)| (*sequence, note))
    }

    /// The latest CRL of every issuer. A clone is cheap.
    #[must_use]
    pub const fn crls(&self) -> &Arc<Crls> {
        &self.crls
    }

    /// Whether the log revokes this certificate, by a revocation or by a CRL.
    #[must_use]
    pub fn revokes(&self, certificate: &CertificateId) -> bool {
        self.policy().revocations().certificate(certificate) || self.crls.list(certificate)
    }

    /// How many liftings are remembered.
    #[must_use]
    pub fn lift_count(&self) -> usize {
        self.lifts.len()
    }

    /// What this entry would do. `now` is in Unix seconds.
    pub(super) fn judge(&self, meaning: &Meaning, now: i64) -> Result<Verdict, SubmitFault> {
        let known = |sequence: Option<u64>| Ok(sequence.map_or(Verdict::New, Verdict::Known));
        match meaning {
            Meaning::Manifest(signed) => {
                let note = self.live(&signed.manifest.id, &signed.digest);
                if note.is_none() {
                    self.assembly.would_admit(signed, now)?;
                }
                known(note.map(|note| note.sequence))
            }
            Meaning::Withdrawal { id, digest } => match self.live(id, digest) {
                Some(_) => Ok(Verdict::New),
                None => known(Some(self.withdrawn.get(digest).ok_or(SubmitFault::Unknown)?.withdrawal)),
            },
            Meaning::Revocation(revocation) => known(self.sequence_of(revocation.id)),
            Meaning::Lift(lift) => known(self.lifts.get(&lift.lifts).copied()),
            Meaning::Crl { summary, digest } => self.crls.judge(summary, digest),
        }
    }

    fn live(&self, id: &ManifestId, digest: &[u8; 32]) -> Option<&ManifestNote> {
        let live = self.policy().manifest(id).filter(|live| live.digest == *digest);
        live.and_then(|live| self.manifests.get(&live.digest))
    }

    /// Takes over an entry of the log; what does nothing by now is passed over, by everybody alike.
    pub(super) fn apply(&mut self, meaning: Meaning, place: Place<'_>) {
        match meaning {
            Meaning::Manifest(signed) => self.admit(*signed, place),
            Meaning::Withdrawal { id, digest } => self.withdraw(&id, &digest, place),
            Meaning::Revocation(revocation) => self.revoke(&revocation, place),
            Meaning::Lift(lift) => self.lift(lift, place),
            Meaning::Crl { summary, digest } => {
                if self.crls.lacks(&summary) {
                    let (sequence, at, by) = (place.sequence, place.at, self.name(place.by));
                    Arc::make_mut(&mut self.crls).take(CrlNote { summary, digest, sequence, at, by });
                }
            }
        }
    }

    fn admit(&mut self, signed: SignedManifest, place: Place<'_>) {
        if self.live(&signed.manifest.id, &signed.digest).is_some() {
            return;
        }
        let digest = signed.digest;
        let Ok(admission) = self.assembly.admit(signed, place.at.as_second()) else { return };
        for rival in admission.displaced {
            self.assembly.withdraw(&rival.manifest.id, &rival.digest);
            self.manifests.remove(&rival.digest);
        }
        self.withdrawn.remove(&digest);
        let (sequence, at, by, chunk) = (place.sequence, place.at, self.name(place.by), place.chunk);
        self.manifests.insert(digest, ManifestNote { sequence, at, by, chunk });
    }

    fn withdraw(&mut self, id: &ManifestId, digest: &[u8; 32], place: Place<'_>) {
        let Some(live) = self.assembly.withdraw(id, digest) else { return };
        let Some(note) = self.manifests.remove(digest) else { return };
        let (manifest, withdrawal) = (note.sequence, place.sequence);
        self.withdrawn.insert(*digest, Withdrawn { manifest, withdrawal, issued_at: live.issued_at });
    }

    fn revoke(&mut self, revocation: &Arc<Revocation>, place: Place<'_>) {
        if self.sequences.contains_key(&revocation.id) {
            return;
        }
        self.assembly.apply(&Statement::Revoke(revocation.as_ref().clone()));
        let in_force = self.policy().revocations().aimed_at(&revocation.target);
        let shared = in_force.iter().find(|known| known.id == revocation.id).unwrap_or(revocation).clone();
        let by = self.name(place.by);
        let lifted = self.lifts.get(&revocation.id).copied();
        if lifted.is_some() {
            self.lifted.push(place.sequence);
        }
        self.sequences.insert(revocation.id, place.sequence);
        self.revocations
            .insert(place.sequence, RevocationNote { revocation: shared, at: place.at, by, lifted });
    }

    fn lift(&mut self, lift: Lift, place: Place<'_>) {
        let lifts = lift.lifts;
        if !self.assembly.apply(&Statement::Lift(lift)) {
            return;
        }
        self.lifts.insert(lifts, place.sequence);
        if let Some(note) = self.sequences.get(&lifts).and_then(|at| self.revocations.get_mut(at)) {
            note.lifted = Some(place.sequence);
            self.lifted.extend(self.sequences.get(&lifts));
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.names.insert(new.clone());
        new
    }

    /// Notes that everything up to here was taken over.
    pub(super) fn advance(&mut self, position: Position) {
        self.position = position;
    }

    /// Puts other bounds in force.
    pub(super) fn rebound(&mut self, bounds: PolicyBounds) {
        self.assembly.rebound(bounds);
    }

    /// What a snapshot at this position has to hold. Manifests that are long over are left out.
    pub(super) fn needed(&mut self, now: i64) -> Needed {
        let life = i64::try_from(self.policy().bounds().max_ttl.as_secs()).unwrap_or(i64::MAX);
        let oldest = now.saturating_sub(life.saturating_add(AFTERLIFE));
        self.withdrawn.retain(|_, withdrawn| withdrawn.issued_at >= oldest);
        for sequence in std::mem::take(&mut self.lifted) {
            if let Some(note) = self.revocations.remove(&sequence) {
                self.sequences.remove(&note.revocation.id);
            }
        }
        let withdrawn = self.withdrawn.values().flat_map(|gone| [gone.manifest, gone.withdrawal]);
        let crls = self.crls.iter().map(|note| note.sequence);
        let live = self.policy().manifests().filter(|live| live.issued_at >= oldest);
        let live = live.filter_map(|live| Some(self.manifests.get(&live.digest)?.sequence));
        let others = withdrawn.chain(crls).chain(live).chain(self.lifts.values().copied()).collect();
        Needed { position: self.position, policy: self.policy().clone(), others }
    }

    /// Notes in which chunks of the latest snapshot the envelopes of these manifests are.
    pub(super) fn moved(&mut self, chunks: &[([u8; 32], [u8; 32])]) {
        for (manifest, chunk) in chunks {
            if let Some(note) = self.manifests.get_mut(manifest) {
                note.chunk = Some(*chunk);
            }
        }
    }
}

/// What a snapshot has to hold.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    pub(super) position: Position,
    policy: Snapshot,
    /// The sequences of everything but revocations.
    others: HashSet<u64>,
}

impl Needed {
    pub(super) fn holds(&self, sequence: u64, meaning: &Meaning) -> bool {
        match meaning {
            Meaning::Revocation(revocation) => {
                let in_force = self.policy.revocations().aimed_at(&revocation.target);
                in_force.iter().any(|known| known.id == revocation.id)
            }
            Meaning::Manifest(_) | Meaning::Withdrawal { .. } | Meaning::Lift(_) | Meaning::Crl { .. } => {
                self.others.contains(&sequence)
            }
        }
    }
}
