//! The source as a whole, with its threads, over a link in memory.

use std::sync::Mutex;
use std::time::Duration;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;

use super::plane::Wire;
use super::*;
use crate::log::Entry;
use crate::transport::Frame;

const BOUND: Duration = Duration::from_secs(20);

struct Running {
    feed: Arc<Feed>,
    log: MemoryLog,
    registry: Registry,
    crls: Arc<Mutex<Vec<usize>>>,
    source: FollowSource,
}

fn start(state: &TempDir, plane: &Plane, wire: &Arc<Wire>) -> Running {
    start_with(state, plane.ring(), wire)
}

fn start_with(state: &TempDir, ring: KeyRing, wire: &Arc<Wire>) -> Running {
    let registry = Registry::new();
    let log = MemoryLog::new();
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &registry).unwrap();
    let feed = Arc::new(Feed::new(PolicyBounds::default()));
    let crls: Arc<Mutex<Vec<usize>>> = Arc::default();
    let sink = crls.clone();
    let mut options = FollowOptions::new(state.path(), ring, PolicyBounds::default(), wire.clone());
    options.sessions = Box::new(|| 7);
    let source = FollowSource::start(
        options,
        feed.clone(),
        recorder,
        &registry,
        Box::new(move |crls| sink.lock().unwrap().push(crls.len())),
    );
    Running { feed, log, registry, crls, source: source.unwrap() }
}

impl Running {
    fn until(&self, what: &str, done: impl Fn(&(Vec<String>, Vec<String>)) -> bool) {
        let deadline = Instant::now() + BOUND;
        while !done(&contents(&self.feed.current())) {
            assert!(Instant::now() < deadline, "it did not come: {what}; events: {:#?}", self.log.events());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn has_event(&self, event_type: &str) {
        let found =
            self.log.wait_until(BOUND, |events| events.iter().any(|event| event["event_type"] == event_type));
        assert!(found, "no {event_type}: {:#?}", self.log.events());
    }

    fn metric(&self, name: &str) -> i64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        #[allow(clippy::cast_possible_truncation)]
        let value = family.get_metric()[0].get_gauge().get_value() as i64;
        value
    }
}

#[test]
fn what_the_log_holds_is_in_force_and_reported_once_it_is_kept() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let manifest = plane.manifest("cm-1", "a");
    plane.append(manifest);
    wire.serve(&plane);
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    let report = wire.reported(plane.position);
    assert_eq!(report.sessions, 7);
    assert_eq!(contents(&running.feed.current()).0.len(), 1);
    assert!(running.feed.age().unwrap() < BOUND);
    assert_eq!(running.metric("portcullis_policy_sequence"), 1);
    assert_eq!(running.metric("portcullis_policy_source_up"), 1);

    // Live, in order.
    let second = plane.manifest("cm-2", "b");
    wire.send(&plane.append(second));
    wire.reported(plane.position);
    assert_eq!(contents(&running.feed.current()).0.len(), 2);
    running.has_event("control.manifest_accepted");
}

#[test]
fn a_hint_is_enforced_at_once_and_its_receipt_comes_when_it_is_kept() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    let (hint, entry) = plane.revocation("device-9");
    wire.send(&hint);
    let Frame::Hint(envelope) = &hint else { panic!() };
    let id = crate::StatementId::of_digest(&super::holdings::payload_digest(envelope));
    let receipt = wire.wait("the receipt", |state| {
        state
            .reports
            .iter()
            .flat_map(|report| &report.enforced)
            .find(|receipt| receipt.revocation == id)
            .cloned()
    });
    assert!(receipt.latency_us < 1_000_000);
    assert_eq!(contents(&running.feed.current()).1, ["device:device-9"]);
    // What was reported is on the disk.
    let journal = std::fs::read_to_string(state.path().join("journal.jsonl")).unwrap();
    assert!(journal.contains(&id.to_string()));

    // Without its record, a restart knows it all the same.
    drop(running);
    wire.go_away();
    let running = start(&state, &plane, &wire);
    assert_eq!(contents(&running.feed.current()).1, ["device:device-9"]);
    wire.come_back();
    let record = plane.append(entry);
    wire.serve(&plane);
    wire.send(&record);
    wire.reported(plane.position);
    assert_eq!(contents(&running.feed.current()).1, ["device:device-9"]);
}

#[test]
fn what_was_missed_is_asked_for() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    for number in 0..600 {
        let entry = match number % 3 {
            0 => plane.manifest(&format!("cm-{number}"), &format!("a-{number}")),
            _ => plane.revocation(&format!("device-{number}")).1,
        };
        plane.append(entry);
    }
    wire.serve(&plane);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    let (manifests, revocations) = contents(&running.feed.current());
    assert_eq!((manifests.len(), revocations.len()), (200, 400));
    assert_eq!(running.metric("portcullis_policy_behind_records"), 0);
}

#[test]
fn who_is_too_far_behind_follows_from_a_snapshot() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let (first, second) = (plane.manifest("cm-1", "a"), plane.manifest("cm-2", "b"));
    let (_, kept) = plane.revocation("device-1");
    let (_, forgotten) = plane.revocation("device-2");
    for entry in [&first, &kept, &forgotten] {
        plane.append(entry.clone());
    }
    wire.serve(&plane);
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    wire.go_away();
    plane.append(Plane::withdrawal(&first));
    plane.append(second.clone());
    let (head, chunks) = plane.snapshot_of(&[kept, second]);
    let after = plane.manifest("cm-3", "c");
    plane.append(after);
    {
        let mut state = wire.state();
        (state.snapshot, state.chunks, state.dropped) = (Some(head), chunks, plane.position.sequence - 1);
        state.records = plane.records_after(0, usize::MAX);
    }
    wire.come_back();
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    let (manifests, revocations) = contents(&running.feed.current());
    assert_eq!(manifests.len(), 2, "{manifests:?}");
    assert!(manifests.iter().all(|name| !name.starts_with("cm-1")), "{manifests:?}");
    assert_eq!(revocations, ["device:device-1", "device:device-2"], "a snapshot lifts nothing");
}

#[test]
fn a_snapshot_with_a_missing_chunk_gives_nothing_and_revokes_what_it_can() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let (manifest, other) = (plane.manifest("cm-1", "a"), plane.manifest("cm-2", "b"));
    let (_, revocation) = plane.revocation("device-2");
    for entry in [&revocation, &manifest, &other] {
        plane.append(entry.clone());
    }
    let (head, mut chunks) = plane.snapshot_of(&[revocation, manifest, other.clone()]);
    let (missing, chunk) = {
        let (_, of_other) = plane.snapshot_of(&[other]);
        of_other.into_iter().next().unwrap()
    };
    chunks.remove(&missing);
    {
        let mut state = wire.state();
        (state.snapshot, state.chunks, state.dropped) = (Some(head), chunks, plane.position.sequence);
    }
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    running.until("the revocation", |(_, revocations)| revocations == &["device:device-2"]);
    running.has_event("system.policy_frame_refused");
    assert!(contents(&running.feed.current()).0.is_empty());
    wire.state().chunks.insert(missing, chunk);
    wire.reported(plane.position);
    assert_eq!(contents(&running.feed.current()).0.len(), 2);
    assert_eq!(std::fs::read_dir(state.path().join("chunks")).unwrap().count(), 0);
}

#[test]
fn hints_are_enforced_while_a_snapshot_is_being_taken() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let entries: Vec<_> =
        (0..400).map(|number| plane.manifest(&format!("cm-{number}"), &format!("a-{number}"))).collect();
    for entry in &entries {
        plane.append(entry.clone());
    }
    let (head, chunks) = plane.snapshot_of(&entries);
    {
        let mut state = wire.state();
        (state.snapshot, state.chunks, state.dropped) = (Some(head), chunks, plane.position.sequence);
    }
    let running = start(&state, &plane, &wire);
    let mut taken_meanwhile = 0;
    for number in 0..20 {
        wire.send(&plane.revocation(&format!("device-{number}")).0);
        running.until("the hint", |(_, revocations)| revocations.len() > number);
        taken_meanwhile += usize::from(contents(&running.feed.current()).0.len() < 400);
    }
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    assert_eq!(contents(&running.feed.current()).0.len(), 400);
    assert!(taken_meanwhile > 0);
}

#[test]
fn a_restart_goes_on_where_it_was_left_as_stale_as_that_is() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let manifest = plane.manifest("cm-1", "a");
    plane.append(manifest);
    wire.serve(&plane);
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    let revision = running.feed.current().revision;
    drop(running);
    wire.go_away();
    std::fs::write(state.path().join("fresh"), (Timestamp::now() - Duration::from_secs(600)).to_string())
        .unwrap();
    let running = start(&state, &plane, &wire);
    assert_eq!(contents(&running.feed.current()).0.len(), 1);
    assert!(running.feed.current().revision > revision);
    assert!(running.feed.age().unwrap() >= Duration::from_secs(600));
    running.has_event("system.policy_source_fault");
    // A heartbeat from before that moment makes nothing fresher.
    wire.come_back();
    wire.send(&plane.heartbeat_at(Timestamp::now() - Duration::from_secs(700)));
    let second = plane.manifest("cm-2", "b");
    wire.send(&plane.append(second));
    wire.reported(plane.position);
    assert!(running.feed.age().unwrap() >= Duration::from_secs(600));
    wire.send(&plane.heartbeat());
    let third = plane.manifest("cm-3", "c");
    wire.send(&plane.append(third));
    wire.reported(plane.position);
    assert!(running.feed.age().unwrap() < BOUND);
}

#[test]
fn other_keys_take_manifests_down_and_bring_them_back() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let manifest = plane.manifest("cm-1", "a");
    plane.append(manifest);
    let (_, revocation) = plane.revocation("device-2");
    plane.append(revocation);
    wire.serve(&plane);
    let without_author =
        plane.ring_of(&[(&plane.control, crate::Role::Control), (&plane.revoker, crate::Role::Revoker)]);
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    let reload = |running: &Running, ring: &KeyRing| {
        running.source.reload(ring.clone(), Approvals::default(), PolicyBounds::default());
    };
    reload(&running, &without_author);
    running.until("the manifest goes", |(manifests, _)| manifests.is_empty());
    // What is not admitted is remembered across a restart, and admitted when it can be.
    drop(running);
    let running = start_with(&state, without_author, &wire);
    assert!(contents(&running.feed.current()).0.is_empty());
    wire.send(&plane.heartbeat());
    reload(&running, &plane.ring());
    running.until("the manifest comes back", |(manifests, _)| manifests.len() == 1);
    assert_eq!(contents(&running.feed.current()).1, ["device:device-2"]);
}

#[test]
fn a_revocation_by_a_key_that_is_not_known_yet_is_enforced_once_it_is() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let (_, revocation) = plane.revocation("device-2");
    plane.append(revocation);
    wire.serve(&plane);
    let ring = plane.ring_of(&[(&plane.control, crate::Role::Control)]);
    let running = start_with(&state, ring, &wire);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    running.has_event("control.revocation_refused");
    assert!(contents(&running.feed.current()).1.is_empty());
    drop(running);
    let running = start(&state, &plane, &wire);
    running.until("the revocation", |(_, revocations)| revocations == &["device:device-2"]);
}

#[test]
fn crls_of_the_log_are_handed_on_and_remembered() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let place = tempfile::tempdir().unwrap();
    let life = Duration::from_secs(86_400);
    let authority = certs::authority::Authority::init(place.path(), "example.com", life).unwrap();
    let crl = CertificateRevocationListDer::from_pem_slice(authority.crl(life).unwrap().as_bytes()).unwrap();
    plane.append(Entry::Crl(crl.to_vec().into()));
    wire.serve(&plane);
    let running = start(&state, &plane, &wire);
    wire.send(&plane.heartbeat());
    wire.reported(plane.position);
    assert_eq!(*running.crls.lock().unwrap(), [1]);
    drop(running);
    wire.go_away();
    let running = start(&state, &plane, &wire);
    assert_eq!(*running.crls.lock().unwrap(), [1]);
}

#[test]
fn a_lost_connection_is_made_again() {
    let (state, plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let running = start(&state, &plane, &wire);
    for round in 1..4 {
        wire.send(&plane.heartbeat());
        wire.wait("a connection", |state| (state.connections >= round).then_some(()));
        wire.go_away();
        running.has_event("system.policy_source_fault");
        wire.come_back();
    }
    wire.wait("a connection", |state| (state.connections >= 4).then_some(()));
}
