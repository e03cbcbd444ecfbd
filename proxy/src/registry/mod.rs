//! Which sessions live, and which of them does a subject touch? The index that makes a revocation cost only what it cuts.
//!
//! The rule that every entry path keeps: **register, decide, watch**. A session is entered before it reads the policy; a
//! change of policy is published before it looks here. Whichever is first, the session is either denied or found. What a
//! decision adds (manifest, user, agent) is indexed by [`SessionGuard::attach`], and the caller then checks that the
//! policy it decided by is still the current one.
//!
//! Nothing here awaits or does cryptography, and no lock is held while a session is told to end.

mod gate;
#[cfg(test)]
pub(crate) mod races;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use certs::CertificateId;
use config::{AgentName, DeviceId, ManifestId, Reason, UserName};
use dashmap::DashMap;
use policy_sync::{CertificateTarget, Subjects};

pub use gate::{Gate, WriteTurn};
pub use session::{Authority, Entry, Kind, Session, Stage};

/// What sessions are found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The sessions of a device.
    Device(DeviceId),
    /// The connections of a device.
    Connections(DeviceId),
    /// The sessions that a manifest allows.
    Manifest(ManifestId),
    /// The sessions of a user's manifests.
    User(UserName),
    /// The sessions of an agent.
    Agent(AgentName),
    /// Sessions and connections whose verified path holds the certificate with this SHA-256 fingerprint.
    Fingerprint([u8; 32]),
    /// The same, by issuer (DER name) and serial number.
    Serial(Arc<[u8]>, Arc<[u8]>),
}

impl Subject {
    /// Everything that sessions are to be looked for under when these subjects of the policy have changed.
    #[must_use]
    pub fn all_of(changed: &Subjects) -> Vec<Self> {
        let devices = changed
            .devices
            .iter()
            .flat_map(|device| [Self::Device(device.clone()), Self::Connections(device.clone())]);
        let certificates = changed.certificates.iter().map(|certificate| match certificate {
            CertificateTarget::Fingerprint(fingerprint) => Self::Fingerprint(*fingerprint),
            CertificateTarget::IssuerSerial { issuer, serial } => {
                Self::Serial(Arc::clone(issuer), Arc::clone(serial))
            }
        });
        devices
            .chain(changed.manifests.iter().cloned().map(Self::Manifest))
            .chain(changed.users.iter().cloned().map(Self::User))
            .chain(changed.agents.iter().cloned().map(Self::Agent))
            .chain(certificates)
            .collect()
    }

    /// The two names under which a certificate is indexed.
    fn of_certificate(certificate: &CertificateId) -> [Self; 2] {
        [
            Self::Fingerprint(certificate.fingerprint),
            Self::Serial(Arc::clone(&certificate.issuer), Arc::clone(&certificate.serial)),
        ]
    }
}

type Bucket = HashMap<u64, Arc<Session>>;

/// All live sessions.
#[derive(Debug, Default)]
pub struct Registry {
    all: DashMap<u64, Arc<Session>>,
    index: DashMap<Subject, Bucket>,
    next: AtomicU64,
    sessions: AtomicUsize,
}

/// What a trip did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tripped {
    /// Sessions told to end by this trip (connections are not counted).
    pub sessions: u64,
    /// Bytes that those sessions had handed upstream.
    pub upload_bytes: u64,
}

impl Registry {
    /// Enters a session. It counts and can be found until the guard is dropped.
    pub fn enter(self: &Arc<Self>, kind: Kind, entry: Entry) -> SessionGuard {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(key, kind, entry));
        self.all.insert(key, Arc::clone(&session));
        if kind != Kind::Connection {
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
        for subject in entered_under(&session) {
            self.insert(subject, &session);
        }
        SessionGuard { registry: Arc::clone(self), session }
    }

    /// Number of live sessions, connections not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Whether no session lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of live entries of `subject`.
    #[must_use]
    pub fn count(&self, subject: &Subject) -> usize {
        self.index.get(subject).map_or(0, |bucket| bucket.len())
    }

    /// The live entries of `subject`.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Vec<Arc<Session>> {
        self.index.get(subject).map(|bucket| bucket.values().cloned().collect()).unwrap_or_default()
    }

    /// Every live entry.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Session>> {
        self.all.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// The live entries that `wanted` picks, which must be quick: nobody enters or leaves its part meanwhile.
    #[must_use]
    pub fn those(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let all = self.all.iter().filter(|entry| wanted(entry.value()));
        all.map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Tells those of `sessions` to end for which `verdict` gives a reason. On return none of them can hand another
    /// byte to an origin; their sockets are closed by their own tasks, which have been woken.
    pub fn trip(
        &self,
        sessions: &[Arc<Session>],
        verdict: impl Fn(&Arc<Session>) -> Option<Reason>,
    ) -> Tripped {
        // Three passes, so that no gate waits behind another's wake-up: all gates fall, then all writers leave, then
        // the tasks are woken.
        let now = Instant::now();
        let mut fallen = Vec::with_capacity(sessions.len());
        for session in sessions {
            if verdict(session).is_some_and(|reason| session.gate.fall(reason)) {
                let _first = session.cut_at.set(now);
                fallen.push(session);
            }
        }
        let mut tripped = Tripped::default();
        for session in &fallen {
            session.gate.await_writers();
            if session.kind != Kind::Connection {
                tripped.sessions += 1;
                tripped.upload_bytes = tripped.upload_bytes.saturating_add(session.uploaded());
            }
        }
        for session in &fallen {
            session.gate.wake();
        }
        tripped
    }

    /// Indexes a session under what a decision has found out, instead of what an earlier one had. A session that has left
    /// stays away.
    pub fn attach(&self, session: &Arc<Session>, authority: Authority) {
        let mut attachment = session.attachment();
        if attachment.left {
            return;
        }
        let previous = attachment.authority.take().map(|authority| attached_under(&authority));
        let subjects = attached_under(&authority);
        for subject in previous.into_iter().flatten().filter(|subject| !subjects.contains(subject)) {
            self.remove_from(subject, session.key);
        }
        session.lasts_with(&authority);
        attachment.authority = Some(Arc::new(authority));
        for subject in subjects {
            self.insert(subject, session);
        }
    }

    fn leave(&self, session: &Session) {
        if self.all.remove(&session.key).is_none() {
            return;
        }
        if session.kind != Kind::Connection {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
        }
        let mut attachment = session.attachment();
        attachment.left = true;
        let attached = attachment.authority.as_deref().map(attached_under);
        for subject in entered_under(session).into_iter().chain(attached.into_iter().flatten()) {
            self.remove_from(subject, session.key);
        }
    }

    fn insert(&self, subject: Subject, session: &Arc<Session>) {
        self.index.entry(subject).or_default().insert(session.key, Arc::clone(session));
    }

    fn remove_from(&self, subject: Subject, key: u64) {
        if let dashmap::Entry::Occupied(mut bucket) = self.index.entry(subject) {
            bucket.get_mut().remove(&key);
            if bucket.get().is_empty() {
                bucket.remove();
            }
        }
    }
}

/// A session's place in the registry; leaving is dropping it.
#[derive(Debug)]
pub struct SessionGuard {
    registry: Arc<Registry>,
    session: Arc<Session>,
}

impl SessionGuard {
    /// The session itself.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Indexes what a decision has found out.
    pub fn attach(&self, authority: Authority) {
        self.registry.attach(&self.session, authority);
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.leave(&self.session);
    }
}

fn entered_under(session: &Session) -> Vec<Subject> {
    let device = session.device.device.clone();
    let mut subjects = Vec::with_capacity(1 + 2 * session.device.chain.len());
    subjects.push(match session.kind {
        Kind::Connection => Subject::Connections(device),
        Kind::Tunnel | Kind::Forward => Subject::Device(device),
    });
    subjects.extend(session.device.chain.iter().flat_map(Subject::of_certificate));
    subjects
}

fn attached_under(authority: &Authority) -> [Subject; 3] {
    let manifest = &authority.manifest.manifest;
    [
        Subject::Manifest(manifest.id.clone()),
        Subject::User(manifest.user.clone()),
        Subject::Agent(manifest.agent.clone()),
    ]
}
