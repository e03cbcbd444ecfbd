//! A control plane over a log in memory.

mod checkout;
mod followed;
mod following;
mod restoring;
mod revoking;
mod submitting;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::{MemoryLog as Events, Recorder, RecorderOptions, Sink};
use bytes::Bytes;
use jiff::Timestamp;
use prometheus::Registry;

use super::{Plane, PlaneFault, PlaneOptions, RevokeOrder, RevokeWhat, Revoked, SubmitFault};
use crate::keys::{KeyRing, Role, SigningKey, TrustedKey};
use crate::log::Entry;
use crate::signed::{Approvals, sign_manifest, verify_statement};
use crate::snapshot::PolicyBounds;
use crate::target::Target;
use crate::testing::{Draft, key};
use crate::transport::memory::{MemoryLink, MemoryLog};
use crate::transport::{Enforced, Frame, Link as _, Report};

/// A log in memory, and the keys of everybody who has a say.
struct Site {
    log: MemoryLog,
    ring: KeyRing,
    seeds: Vec<(Role, Arc<SigningKey>)>,
    directory: tempfile::TempDir,
    events: Events,
}

impl Site {
    fn new() -> Self {
        let (mut ring, mut seeds) = (KeyRing::default(), Vec::new());
        for role in Role::ALL {
            let key = key(&format!("{role}-1"));
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
            seeds.push((role, Arc::new(key)));
        }
        let directory = tempfile::tempdir().unwrap();
        for (role, key) in &seeds {
            key.write(&directory.path().join(role.as_str())).unwrap();
        }
        Self { log: MemoryLog::default(), ring, seeds, directory, events: Events::default() }
    }

    fn over(&self, log: MemoryLog) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (role, key) in &self.seeds {
            key.write(&directory.path().join(role.as_str())).unwrap();
        }
        let (ring, seeds) = (self.ring.clone(), self.seeds.clone());
        Self { log, ring, seeds, directory, events: Events::default() }
    }

    fn key(&self, role: Role) -> &SigningKey {
        &self.seeds.iter().find(|(known, _)| *known == role).unwrap().1
    }

    fn own_key(&self, role: Role) -> SigningKey {
        let id = self.key(role).id().clone();
        SigningKey::read(id, &self.directory.path().join(role.as_str())).unwrap()
    }

    fn options(&self) -> PlaneOptions {
        let registry = Registry::new();
        let sink = Sink::Memory(self.events.clone());
        let recorder = Recorder::open(RecorderOptions::new("control-1", sink), &registry).unwrap();
        PlaneOptions {
            name: "control-1".into(),
            transport: Arc::new(self.log.clone()),
            ring: self.ring.clone(),
            control: self.own_key(Role::Control),
            revoker: Some(self.own_key(Role::Revoker)),
            approver: Some(self.own_key(Role::Approver)),
            approvals: Approvals::default(),
            crl_issuers: certs::CrlIssuers::anybody(),
            bounds: PolicyBounds::default(),
            silent_upload: config::Limit::Unlimited,
            new_epoch: false,
            recorder,
            registry,
        }
    }

    async fn plane(&self) -> Arc<Plane> {
        Plane::open(self.options()).await.unwrap()
    }

    /// A signed manifest for one agent on one device, issued so many seconds ago.
    fn manifest(&self, id: &str, device: &str, ago: i64) -> Entry {
        let draft = Draft { id, device, ..Draft::default() }.read();
        let issued_at = Timestamp::now().as_second() - ago;
        Entry::Manifest(sign_manifest(draft, issued_at, self.key(Role::Author)).to_json().into())
    }
}

fn device(name: &str) -> Target {
    Target::Device(name.parse().unwrap())
}

/// An order to revoke a device.
fn order(target: Target) -> RevokeOrder {
    let what = RevokeWhat::Unsigned { target, reason: "suspicious".into(), timestamp: None };
    RevokeOrder { what, by: "alice".into(), wait: Duration::from_secs(10) }
}

/// A gateway that enforces whatever it is told, or keeps silent.
struct Follower {
    link: Arc<MemoryLink>,
    seen: Arc<Mutex<Vec<Frame>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    async fn start(site: &Site, plane: &Arc<Plane>, name: &str, enforces: bool) -> Self {
        site.log.serve(plane.clone());
        let link = site.log.link(name);
        let seen: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let (follows, frames, ring) = (link.clone(), seen.clone(), site.ring.clone());
        let task = tokio::spawn(async move {
            let sink = |frame: Frame| {
                if let Frame::Hint(envelope) = &frame
                    && enforces
                {
                    let envelope = crate::envelope::Envelope::read(envelope).unwrap();
                    let revocation = verify_statement(&envelope, &ring).unwrap().id();
                    let (sessions_cut, upload_bytes, latency_us) = (3, 81_234, 1_800);
                    let enforced = Enforced { revocation, sessions_cut, upload_bytes, latency_us };
                    follows.report(Report { enforced: vec![enforced], ..Report::default() });
                }
                frames.lock().unwrap().push(frame);
            };
            follows.follow(Report::default(), Box::new(sink)).await;
        });
        until(|| plane.gateways().iter().any(|gateway| gateway.name == name && gateway.connected)).await;
        Self { link, seen, task }
    }

    fn hints(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|frame| matches!(frame, Frame::Hint(_))).count()
    }
}

/// Waits for a state, for ten seconds at most.
async fn until(mut state: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if state() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the state does not come");
}
