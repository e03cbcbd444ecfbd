//! Whom does a change of the policy concern?
//!
//! One task follows the log and keeps the policy of this moment. Streams are entered under everything that could concern
//! them; a change wakes those that stand under what it touches, and nobody else, so that ten thousand idle streams cost a
//! change nothing. Waking somebody for nothing is harmless: a stream looks for itself what is new.
//!
//! A stream is entered first and reads the policy afterwards; the policy is replaced first and streams are searched
//! afterwards. Whichever comes first, the change is seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use config::{AgentName, DeviceId, ManifestId, UserName};
use tokio::sync::Notify;

use super::caller::{Caller, Turned};
use super::view::{View, certificate_targets};
use crate::change::{Change, Subjects, Touched};
use crate::control::crls::Crls;
use crate::control::plane::Plane;
use crate::log::Position;
use crate::snapshot::Snapshot;
use crate::target::CertificateTarget;

/// The policy of one moment, and its place in the log.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) position: Position,
    pub(super) policy: Snapshot,
    pub(super) crls: Arc<Crls>,
}

impl Current {
    /// Whether the log revokes no certificate of the caller's path, neither by a revocation nor by a CRL.
    pub(super) fn certificates_hold(&self, caller: &Caller) -> Result<(), Turned> {
        let revoked =
            |certificate| self.policy.revocations().certificate(certificate) || self.crls.list(certificate);
        if caller.device.chain.iter().any(revoked) { Err(Turned::Revoked) } else { Ok(()) }
    }
}

/// Something a change can touch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Concern {
    Device(DeviceId),
    Agent(AgentName),
    User(UserName),
    Certificate(CertificateTarget),
}

/// The policy of this moment, and who waits for the next.
pub(super) struct Board {
    current: ArcSwap<Current>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    all: HashMap<u64, Arc<Notify>>,
    by_concern: HashMap<Concern, HashMap<u64, Arc<Notify>>>,
}

/// A stream on the board; it leaves when it is dropped.
pub(super) struct Entry {
    board: Arc<Board>,
    number: u64,
    woken: Arc<Notify>,
    concerns: Vec<Concern>,
}

impl Board {
    pub(super) fn new(plane: &Plane) -> Self {
        Self {
            current: ArcSwap::from_pointee(read(plane)),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// The policy of this moment.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Enters a stream of this caller.
    pub(super) fn enter(self: &Arc<Self>, caller: &Caller) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let woken = Arc::<Notify>::default();
        self.waiting().all.insert(number, Arc::clone(&woken));
        let mut entry = Entry { board: Arc::clone(self), number, woken, concerns: Vec::new() };
        let agent = caller.agent.clone().map(Concern::Agent);
        let certificates = certificate_targets(caller).map(Concern::Certificate);
        let device = Concern::Device(caller.device.device.clone());
        for concern in [device].into_iter().chain(agent).chain(certificates) {
            entry.add(concern);
        }
        entry
    }

    /// Replaces the policy, then wakes whom that concerns.
    fn replace(&self, next: Current) {
        let next = Arc::new(next);
        let old = self.current.swap(Arc::clone(&next));
        let lists = !Arc::ptr_eq(&old.crls, &next.crls);
        match Change::between(&old.policy, &next.policy).touched {
            // A CRL may list anybody, and comes seldom.
            _ if lists => self.waiting().all.values().for_each(|woken| woken.notify_one()),
            Touched::All => self.waiting().all.values().for_each(|woken| woken.notify_one()),
            Touched::Some(subjects) => self.wake(&subjects, &old.policy, &next.policy),
        }
    }

    fn wake(&self, subjects: &Subjects, old: &Snapshot, new: &Snapshot) {
        let of_manifest = |id: &ManifestId| {
            let devices = [old, new].map(|policy| policy.manifest(id).map(|live| &live.manifest.device));
            devices.into_iter().flatten().cloned().map(Concern::Device).collect::<Vec<_>>()
        };
        let concerns = subjects.manifests.iter().flat_map(of_manifest);
        let concerns = concerns.chain(subjects.devices.iter().cloned().map(Concern::Device));
        let concerns = concerns.chain(subjects.users.iter().cloned().map(Concern::User));
        let concerns = concerns.chain(subjects.agents.iter().cloned().map(Concern::Agent));
        let concerns = concerns.chain(subjects.certificates.iter().cloned().map(Concern::Certificate));
        let waiting = self.waiting();
        for concern in concerns {
            let streams = waiting.by_concern.get(&concern);
            streams.into_iter().flat_map(HashMap::values).for_each(|woken| woken.notify_one());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Returns when something may be new.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Enters the stream under what else concerns it, now that this is what it sees; true when there was anything to add.
    pub(super) fn follow(&mut self, view: &View, policy: &Snapshot) -> bool {
        let Some(seen) = &view.manifest else { return false };
        let agent = policy.manifest(&seen.id).map(|live| Concern::Agent(live.manifest.agent.clone()));
        let concerns = [Some(Concern::User(seen.user.clone())), agent];
        let before = self.concerns.len();
        concerns.into_iter().flatten().for_each(|concern| self.add(concern));
        self.concerns.len() > before
    }

    fn add(&mut self, concern: Concern) {
        if !self.concerns.contains(&concern) {
            let mut waiting = self.board.waiting();
            let streams = waiting.by_concern.entry(concern.clone()).or_default();
            streams.insert(self.number, Arc::clone(&self.woken));
            drop(waiting);
            self.concerns.push(concern);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut waiting = self.board.waiting();
        waiting.all.remove(&self.number);
        for concern in &self.concerns {
            if let Some(streams) = waiting.by_concern.get_mut(concern) {
                streams.remove(&self.number);
                if streams.is_empty() {
                    waiting.by_concern.remove(concern);
                }
            }
        }
    }
}

fn read(plane: &Plane) -> Current {
    plane.with_state(|state| Current {
        position: state.position(),
        policy: state.policy().clone(),
        crls: Arc::clone(state.crls()),
    })
}

/// Follows the log for as long as anybody holds the board.
pub(super) async fn watch(board: Weak<Board>, plane: Arc<Plane>) {
    let mut changes = plane.changes();
    loop {
        let Some(board) = board.upgrade() else { return };
        changes.mark_unchanged();
        board.replace(read(&plane));
        drop(board);
        if changes.changed().await.is_err() {
            return;
        }
    }
}
