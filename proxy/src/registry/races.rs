//! Every order in which a session and a revocation can meet.
//!
//! The session's steps are enter, read the policy, attach, check the policy again; the revocation's are publish, then
//! look the session up and trip it. All interleavings are walked one by one with the real registry and gate: in each the
//! session is denied or tripped, and none slips through. Threads then race the gate itself.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use certs::VerifiedDevice;
use config::{AgentName, Manifest, Network, Reason, UserName};
use policy_sync::LiveManifest;

use super::*;

#[test]
fn in_every_order_a_session_meets_its_revocation() {
    let mut orders = 0;
    for order in interleavings(4, 2) {
        orders += 1;
        let registry = Arc::new(Registry::default());
        let revoked = Cell::new(false);
        let mut session = Steps::default();
        let mut step_of_session = 0;
        let mut step_of_revocation = 0;
        for of_session in &order {
            if *of_session {
                session.step(step_of_session, &registry, revoked.get());
                step_of_session += 1;
            } else {
                match step_of_revocation {
                    0 => revoked.set(true),
                    _ => {
                        let found = registry.of(&Subject::Manifest("cm-1".parse().unwrap()));
                        registry.trip(&found, |_| Some(Reason::ManifestRevoked));
                    }
                }
                step_of_revocation += 1;
            }
        }
        let tripped = session.guard.as_ref().is_some_and(|guard| guard.session().cut().is_some());
        assert!(session.denied || tripped, "slipped through in the order {order:?}");
    }
    assert_eq!(orders, 15);
}

#[test]
fn once_a_trip_has_returned_no_writer_is_inside_and_none_enters() {
    for _ in 0..200 {
        let gate = Arc::new(Gate::default());
        let written = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (gate, written, stop) = (Arc::clone(&gate), Arc::clone(&written), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::SeqCst) {
                    let Some(_turn) = gate.enter_write() else { return };
                    written.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        while written.load(Ordering::SeqCst) < 10 {
            std::hint::spin_loop();
        }
        gate.fall(Reason::DeviceRevoked);
        gate.await_writers();
        let at_trip = written.load(Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        assert_eq!(written.load(Ordering::SeqCst), at_trip);
    }
}

#[test]
fn the_first_reason_stays() {
    let gate = Gate::default();
    assert!(gate.fall(Reason::ManifestExpired));
    assert!(!gate.fall(Reason::OperatorCut));
    assert_eq!(gate.fallen(), Some(Reason::ManifestExpired));
}

#[test]
fn a_session_that_leaves_leaves_nothing_behind() {
    let registry = Arc::new(Registry::default());
    let guard = registry.enter(Kind::Tunnel, entry());
    guard.attach(authority("cm-1"));
    guard.attach(authority("cm-2"));
    assert_eq!(registry.count(&Subject::Manifest("cm-1".parse().unwrap())), 0);
    assert_eq!(registry.count(&Subject::Manifest("cm-2".parse().unwrap())), 1);
    let session = Arc::clone(guard.session());
    drop(guard);
    registry.attach(&session, authority("cm-3"));
    assert!(registry.is_empty() && registry.all.is_empty() && registry.index.is_empty());
}

#[test]
fn a_trip_touches_only_what_it_names() {
    let registry = Arc::new(Registry::default());
    let doomed = registry.enter(Kind::Tunnel, entry());
    doomed.attach(authority("cm-1"));
    let other = registry.enter(Kind::Tunnel, entry());
    other.attach(authority("cm-2"));
    let found = registry.of(&Subject::Manifest("cm-1".parse().unwrap()));
    let tripped = registry.trip(&found, |_| Some(Reason::ManifestRevoked));
    assert_eq!(tripped.sessions, 1);
    assert_eq!(doomed.session().cut(), Some(Reason::ManifestRevoked));
    assert_eq!(other.session().cut(), None);
}

/// The session's side, one step at a time.
#[derive(Default)]
struct Steps {
    guard: Option<SessionGuard>,
    denied: bool,
}

impl Steps {
    fn step(&mut self, step: usize, registry: &Arc<Registry>, revoked: bool) {
        if self.denied {
            return;
        }
        match step {
            0 => self.guard = Some(registry.enter(Kind::Tunnel, entry())),
            2 => self.guard.as_ref().unwrap().attach(authority("cm-1")),
            // Steps 1 and 3 read the policy.
            _ => self.denied = revoked,
        }
    }
}

/// Every order of `left` steps of one side among `right` of the other.
fn interleavings(left: usize, right: usize) -> Vec<Vec<bool>> {
    if left == 0 || right == 0 {
        return vec![std::iter::repeat_n(true, left).chain(std::iter::repeat_n(false, right)).collect()];
    }
    let begin = |first: bool, rest: Vec<Vec<bool>>| {
        rest.into_iter().map(move |order| std::iter::once(first).chain(order).collect::<Vec<_>>())
    };
    begin(true, interleavings(left - 1, right)).chain(begin(false, interleavings(left, right - 1))).collect()
}

pub(crate) fn entry() -> Entry {
    let leaf =
        CertificateId { fingerprint: [7; 32], issuer: Arc::from(&b"ca"[..]), serial: Arc::from(&[1][..]) };
    let device = VerifiedDevice {
        device: "device-1".parse().unwrap(),
        agent: None,
        leaf: leaf.clone(),
        chain: vec![leaf],
        issuer_keys: vec![[0; 32]],
        not_after: i64::MAX,
        subject: "CN=device-1".into(),
    };
    Entry { device: Arc::new(device), requested_agent: None, destination: None }
}

fn authority(id: &str) -> Authority {
    let manifest = Manifest {
        id: id.parse().unwrap(),
        agent: AgentName::new("agent").unwrap(),
        user: UserName::new("user").unwrap(),
        device: "device-1".parse().unwrap(),
        role: None,
        residency: None,
        network: Network::default(),
        filesystem: None,
        secrets: None,
        ttl: Duration::from_secs(60),
    };
    let live = LiveManifest::new(manifest, 0, [0; 32], Vec::new(), Duration::from_secs(60));
    Authority { manifest: Arc::new(live), rule: None, revision: 1 }
}
