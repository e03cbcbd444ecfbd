//! The directory source against real directories: what takes effect, what is refused, and what survives a restart.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use audit::{MemoryLog, RecorderOptions, Sink};
use config::{ManifestDraft, Reason, Source};
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::change::Change;
use crate::decide::Asking;
use crate::envelope::Envelope;
use crate::feed::{Enforcer, Receipt};
use crate::keys::{KeyId, Role, SigningKey, TrustedKey};
use crate::signed::{sign_lift, sign_manifest, sign_revocation};
use crate::snapshot::Snapshot;
use crate::target::Target;

const BOUND: Duration = Duration::from_secs(10);
/// So long that what a test waits for can only have been reported by the system.
const NEVER: Duration = Duration::from_secs(3600);

/// Wakes the test whenever a snapshot is published.
#[derive(Default)]
struct Signal {
    revision: Mutex<u64>,
    published: Condvar,
}

impl Enforcer for Signal {
    fn enforce(&self, snapshot: &Arc<Snapshot>, _: &Change) -> Receipt {
        *self.revision.lock().unwrap() = snapshot.revision;
        self.published.notify_all();
        Receipt { sessions_cut: 3, upload_bytes: 81_234, latency: Duration::ZERO }
    }
}

struct Place {
    directory: TempDir,
    author: SigningKey,
    approver: SigningKey,
    revoker: SigningKey,
    now: i64,
}

struct Running {
    feed: Arc<Feed>,
    log: MemoryLog,
    signal: Arc<Signal>,
    crls: Arc<Mutex<Vec<Vec<Document>>>>,
    source: DirSource,
}

fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            author: key("author"),
            approver: key("approver"),
            revoker: key("revoker"),
            now: Timestamp::now().as_second(),
        };
        for kind in ["manifests", "revocations", "crls"] {
            fs::create_dir_all(place.policy().join(kind)).unwrap();
        }
        place
    }

    fn policy(&self) -> PathBuf {
        self.directory.path().join("policy")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn ring(&self) -> KeyRing {
        let mut ring = KeyRing::default();
        for (key, role) in
            [(&self.author, Role::Author), (&self.approver, Role::Approver), (&self.revoker, Role::Revoker)]
        {
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
        }
        ring
    }

    fn manifest(&self, id: &str, agent: &str, host: &str, later: i64) -> Envelope {
        sign_manifest(draft(id, agent, host), self.now - 100 + later, &self.author)
    }

    fn put(&self, envelope: &Envelope) -> PathBuf {
        write_manifest(&self.policy(), envelope).unwrap()
    }

    fn revoke(&self, target: Target) -> PathBuf {
        let (envelope, _) = sign_revocation(target, "test", Timestamp::now(), &self.revoker).unwrap();
        write_revocation(&self.policy(), &envelope).unwrap()
    }

    fn start(&self, rescan: Duration) -> Running {
        self.start_on(&self.policy(), rescan)
    }

    fn start_on(&self, directory: &Path, rescan: Duration) -> Running {
        let registry = Registry::new();
        let log = MemoryLog::new();
        let recorder =
            Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &registry).unwrap();
        let feed = Arc::new(Feed::new(PolicyBounds::default()));
        let signal = Arc::new(Signal::default());
        feed.subscribe(signal.clone());
        let crls: Arc<Mutex<Vec<Vec<Document>>>> = Arc::default();
        let sink = crls.clone();
        let options = DirOptions {
            rescan,
            ..DirOptions::new(directory, self.state(), self.ring(), PolicyBounds::default())
        };
        let source = DirSource::start(
            options,
            feed.clone(),
            recorder,
            &registry,
            Box::new(move |documents| sink.lock().unwrap().push(documents)),
        );
        Running { feed, log, signal, crls, source: source.unwrap() }
    }
}

fn draft(id: &str, agent: &str, host: &str) -> ManifestDraft {
    let id = if id.is_empty() { String::new() } else { format!(r#""id":"{id}","#) };
    let text = format!(
        r#"{{{id}"agent":"{agent}","identity":{{"user":"alice@example.com","device":"device-1"}},
        "capabilities":{{"network":{{"allow":["{host}"]}}}},"ttl_seconds":3600}}"#
    );
    ManifestDraft::read(&Source::new("m.json", text)).unwrap()
}

impl Running {
    /// What is answered to the agent `a` on `device-1`.
    fn ask(&self, host: &str) -> Result<String, Reason> {
        ask(&self.feed.current(), host)
    }

    /// Waits until the policy satisfies `done`.
    fn until(&self, what: &str, done: impl Fn(&Snapshot) -> bool) {
        let deadline = Instant::now() + BOUND;
        let mut revision = self.signal.revision.lock().unwrap();
        while !done(&self.feed.current()) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not come: {what}; events: {:#?}", self.log.events());
            revision =
                self.signal.published.wait_timeout(revision, left.min(Duration::from_millis(50))).unwrap().0;
        }
    }

    fn until_answer(&self, host: &str, expected: &Result<&str, Reason>) {
        let expected = expected.map(str::to_owned);
        self.until(&format!("{host} is answered {expected:?}"), |snapshot| ask(snapshot, host) == expected);
    }

    fn until_event(&self, event_type: &str, detail: &str) {
        let found = self.log.wait_until(BOUND, |events| {
            events.iter().any(|event| {
                event["event_type"] == event_type && event["detail"].as_str().unwrap_or("").contains(detail)
            })
        });
        assert!(found, "no {event_type} with {detail:?}: {:#?}", self.log.events());
    }

    fn count(&self, event_type: &str) -> usize {
        self.log.events().iter().filter(|event| event["event_type"] == event_type).count()
    }
}

fn ask(snapshot: &Snapshot, host: &str) -> Result<String, Reason> {
    let destination = config::Destination::parse_authority(format!("{host}:443").as_bytes()).unwrap();
    let device = "device-1".parse().unwrap();
    let agent = "a".parse().unwrap();
    let asking = Asking {
        device: &device,
        certificate_agent: None,
        requested_agent: Some(&agent),
        certificates: &[],
        destination: &destination,
        now: Timestamp::now().as_second(),
    };
    let decision = snapshot.decide(&asking);
    decision.map(|grant| grant.manifest.manifest.id.to_string()).map_err(|denial| denial.reason)
}

fn device() -> Target {
    Target::Device("device-1".parse().unwrap())
}

const A: &str = "a.example.com";
const B: &str = "b.example.com";

#[test]
fn what_the_directory_holds_is_in_force_when_starting_returns() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    assert_eq!(running.ask(B), Err(Reason::DestinationNotListed));
    assert!(running.feed.age().unwrap() < BOUND);
    running.until_event("control.manifest_accepted", "");
}

#[test]
fn files_take_effect_as_the_system_reports_them_without_a_rescan() {
    let place = Place::new();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Err(Reason::NoManifest));
    let path = place.put(&place.manifest("cm-1", "a", A, 0));
    running.until_answer(A, &Ok("cm-1"));
    place.put(&place.manifest("cm-1", "a", B, 1));
    running.until_answer(A, &Err(Reason::DestinationNotListed));
    assert_eq!(running.ask(B), Ok("cm-1".into()));
    place.revoke(device());
    running.until_answer(B, &Err(Reason::DeviceRevoked));
    fs::remove_file(path).unwrap();
    running.until("the manifest is gone", |snapshot| snapshot.manifest_count() == 0);
    running.until_event("control.manifest_withdrawn", "no longer holds it");
}

#[test]
fn a_directory_named_by_a_relative_path_is_watched_all_the_same() {
    let place = Place::new();
    let here = std::env::current_dir().unwrap();
    let to_root: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = to_root.join(place.policy().strip_prefix("/").unwrap());
    assert!(relative.is_relative());
    let running = place.start_on(&relative, NEVER);
    place.put(&place.manifest("cm-1", "a", A, 0));
    running.until_answer(A, &Ok("cm-1"));
}

#[test]
fn a_revocation_is_applied_within_milliseconds_of_its_file() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(NEVER);
    let mut fastest = NEVER;
    for round in 0..10 {
        let target = Target::User(format!("user-{round}").parse().unwrap());
        let (envelope, _) =
            sign_revocation(target.clone(), "test", Timestamp::now(), &place.revoker).unwrap();
        let (beside, path) =
            (place.policy().join("x"), place.policy().join(format!("revocations/{round}.json")));
        fs::write(&beside, envelope.to_json()).unwrap();
        let renamed = Instant::now();
        fs::rename(&beside, &path).unwrap();
        running.until("the revocation", |snapshot| snapshot.revocations().contains(&target));
        fastest = fastest.min(renamed.elapsed());
    }
    assert!(fastest < Duration::from_millis(20), "the fastest of ten took {fastest:?}");
}

#[test]
fn what_the_system_does_not_report_is_found_by_the_rescan() {
    let place = Place::new();
    let moved = place.directory.path().join("elsewhere");
    let running = place.start(Duration::from_millis(20));
    // A folder that appears later is watched later.
    fs::rename(place.policy(), &moved).unwrap();
    fs::write(moved.join("manifests/m.json"), place.manifest("cm-1", "a", A, 0).to_json()).unwrap();
    fs::rename(&moved, place.policy()).unwrap();
    running.until_answer(A, &Ok("cm-1"));
}

#[test]
fn a_revocation_has_an_event_with_its_receipt() {
    let place = Place::new();
    let running = place.start(NEVER);
    place.revoke(device());
    running.until_event("control.revoked", "test");
    let event =
        running.log.events().into_iter().find(|event| event["event_type"] == "control.revoked").unwrap();
    assert_eq!(event["target"], "device:device-1");
    assert_eq!((event["sessions_cut"].as_u64(), event["upload_bytes"].as_u64()), (Some(3), Some(81_234)));
}

#[test]
fn one_bad_file_takes_down_its_own_manifest_only_and_says_so() {
    let place = Place::new();
    let path = place.put(&place.manifest("cm-1", "a", A, 0));
    let other = place.put(&place.manifest("cm-2", "other", B, 0));
    let running = place.start(NEVER);
    for (bad, said) in [
        (b"".to_vec(), "not the expected JSON"),
        (b"{\"payloadType\":".to_vec(), "not the expected JSON"),
        (sign_manifest(draft("cm-1", "a", A), place.now, &key("author")).to_json(), "does not hold"),
        (sign_manifest(draft("cm-1", "a", A), place.now, &place.revoker).to_json(), "roles"),
    ] {
        fs::write(&path, bad).unwrap();
        running.until_answer(A, &Err(Reason::NoManifest));
        running.until_event("control.manifest_refused", said);
        assert_eq!(running.feed.current().manifest_count(), 1, "the other one stays");
        fs::write(&path, place.manifest("cm-1", "a", A, 0).to_json()).unwrap();
        running.until_answer(A, &Ok("cm-1"));
    }
    assert!(other.exists());
}

#[test]
fn an_older_manifest_never_comes_back_not_even_after_a_restart() {
    let place = Place::new();
    let (old, new) = (place.manifest("cm-1", "a", A, 0), place.manifest("cm-1", "a", B, 1));
    let renamed = place.manifest("cm-2", "a", A, 0);
    place.put(&old);
    let running = place.start(NEVER);
    place.put(&new);
    running.until_answer(B, &Ok("cm-1"));
    for rollback in [&old, &renamed] {
        place.put(rollback);
        running.until_answer(B, &Err(Reason::NoManifest));
        place.put(&new);
        running.until_answer(B, &Ok("cm-1"));
    }
    drop(running);
    place.put(&old);
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Err(Reason::NoManifest));
    running.until_event("control.manifest_refused", "superseded");
}

#[test]
fn of_two_files_for_one_agent_on_one_device_the_later_manifest_is_live() {
    let place = Place::new();
    for (name, envelope) in [
        ("a", place.manifest("cm-1", "a", A, 0)),
        ("b", place.manifest("cm-2", "a", B, 1)),
        ("c", place.manifest("cm-3", "a", A, 0)),
    ] {
        fs::write(place.policy().join(format!("manifests/{name}.json")), envelope.to_json()).unwrap();
    }
    let running = place.start(NEVER);
    assert_eq!(running.ask(B), Ok("cm-2".into()));
    assert_eq!(running.feed.current().manifest_count(), 1);
    fs::remove_file(place.policy().join("manifests/b.json")).unwrap();
    running.until_answer(A, &Err(Reason::NoManifest));
}

#[test]
fn a_manifest_from_the_future_waits_for_its_time() {
    let place = Place::new();
    let envelope = sign_manifest(draft("cm-1", "a", A), place.now + 302, &place.author);
    place.put(&envelope);
    let running = place.start(Duration::from_millis(50));
    assert_eq!(running.ask(A), Err(Reason::NoManifest));
    running.until_answer(A, &Ok("cm-1"));
    assert_eq!(running.count("control.manifest_refused"), 1, "it is told once");
}

#[test]
fn renaming_a_file_leaves_its_manifest_live() {
    let place = Place::new();
    let path = place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(NEVER);
    fs::rename(&path, place.policy().join("manifests/zzz.json")).unwrap();
    place.revoke(Target::User("somebody".parse().unwrap()));
    running.until("what came after", |snapshot| !snapshot.revocations().is_empty());
    running.until_answer(A, &Ok("cm-1"));
}

#[test]
fn a_revocation_outlives_its_file_and_a_restart_and_a_missing_folder() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(NEVER);
    let path = place.revoke(device());
    running.until_answer(A, &Err(Reason::DeviceRevoked));
    fs::write(&path, "garbage").unwrap();
    running.until_event("control.revocation_refused", "not the expected JSON");
    assert_eq!(running.ask(A), Err(Reason::DeviceRevoked));
    fs::remove_dir_all(place.policy().join("revocations")).unwrap();
    drop(running);
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Err(Reason::DeviceRevoked));
    assert!(running.feed.age().is_some(), "a missing folder of revocations is no fault of the source");
}

#[test]
fn a_lifted_revocation_stays_lifted_although_its_file_is_still_there() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let (envelope, revocation) = sign_revocation(device(), "test", Timestamp::now(), &place.revoker).unwrap();
    write_revocation(&place.policy(), &envelope).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Err(Reason::DeviceRevoked));
    let by_revoker = sign_lift(&revocation, "sorry", Timestamp::now(), &place.revoker).unwrap();
    write_revocation(&place.policy(), &by_revoker).unwrap();
    running.until_event("control.revocation_refused", "approver");
    assert_eq!(running.ask(A), Err(Reason::DeviceRevoked));
    let lift = sign_lift(&revocation, "sorry", Timestamp::now(), &place.approver).unwrap();
    write_revocation(&place.policy(), &lift).unwrap();
    running.until_answer(A, &Ok("cm-1"));
    running.until_event("control.lifted", "sorry");
    drop(running);
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    place.revoke(device());
    running.until_answer(A, &Err(Reason::DeviceRevoked));
}

#[test]
fn the_revision_never_goes_back() {
    let place = Place::new();
    let running = place.start(NEVER);
    let first = running.feed.current().revision;
    place.revoke(device());
    running.until("the next revision", |snapshot| snapshot.revision == first + 1);
    drop(running);
    let running = place.start(NEVER);
    let second = running.feed.current().revision;
    assert_eq!(second, first + 2, "after an orderly end it goes on where it was");
    // A crash: the line that the orderly end wrote is not there.
    drop(running);
    let journal = place.state().join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<_> = text.lines().collect();
    fs::write(&journal, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let running = place.start(NEVER);
    assert!(running.feed.current().revision > second);
}

#[test]
fn when_the_source_is_away_the_last_good_policy_holds_as_stale_as_it_is() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    place.revoke(Target::User("somebody".parse().unwrap()));
    drop(place.start(NEVER));
    let away = place.directory.path().join("away");
    fs::rename(place.policy(), &away).unwrap();
    let old = Timestamp::now() - Duration::from_secs(1000);
    fs::write(place.state().join("fresh"), old.to_string()).unwrap();
    let running = place.start(Duration::from_millis(20));
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    assert_eq!(running.feed.current().revocations().len(), 1);
    assert!(running.feed.age().unwrap() >= Duration::from_secs(999), "{:?}", running.feed.age());
    running.until_event("system.policy_source_fault", "manifests");
    // Back, with another manifest in the place of the one that was kept.
    fs::remove_dir_all(away.join("manifests")).unwrap();
    write_manifest(&away, &place.manifest("cm-2", "a", B, 1)).unwrap();
    fs::rename(&away, place.policy()).unwrap();
    running.until_answer(B, &Ok("cm-2"));
    running.until("only that one is left", |snapshot| snapshot.manifest_count() == 1);
    let fresh = Instant::now() + BOUND;
    while running.feed.age().unwrap() > BOUND {
        assert!(Instant::now() < fresh, "it is fresh again");
        thread::yield_now();
    }
}

#[test]
fn what_is_kept_of_the_last_good_policy_is_verified_again() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    drop(place.start(NEVER));
    fs::remove_dir_all(place.policy()).unwrap();
    let kept = fs::read_dir(place.state().join("manifests")).unwrap().next().unwrap().unwrap().path();
    let forged = sign_manifest(draft("cm-1", "a", B), place.now, &key("author")).to_json();
    fs::write(kept, forged).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.feed.current().manifest_count(), 0);
    assert_eq!(running.ask(B), Err(Reason::NoManifest));
}

#[test]
fn a_source_that_goes_away_takes_nothing_back_and_gives_nothing() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(Duration::from_millis(20));
    fs::rename(place.policy(), place.directory.path().join("away")).unwrap();
    running.until_event("system.policy_source_fault", "manifests");
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    let age = running.feed.age().unwrap();
    let deadline = Instant::now() + BOUND;
    while running.feed.age().unwrap() < age + Duration::from_millis(200) {
        assert!(Instant::now() < deadline, "it grows older");
        thread::yield_now();
    }
}

#[test]
fn the_swap_of_a_mounted_volume_takes_effect_at_once() {
    let place = Place::new();
    let manifests = place.policy().join("manifests");
    let generation = |name: &str, envelope: &Envelope| {
        let folder = manifests.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("m.json"), envelope.to_json()).unwrap();
        symlink(name, manifests.join("..data_tmp")).unwrap();
        fs::rename(manifests.join("..data_tmp"), manifests.join("..data")).unwrap();
    };
    generation("..2026_1", &place.manifest("cm-1", "a", A, 0));
    symlink("..data/m.json", manifests.join("m.json")).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    generation("..2026_2", &place.manifest("cm-1", "a", B, 1));
    running.until_answer(B, &Ok("cm-1"));
    assert_eq!(running.ask(A), Err(Reason::DestinationNotListed));
}

#[test]
fn the_swap_of_a_volume_that_holds_the_folders_takes_effect_at_once() {
    let place = Place::new();
    fs::remove_dir_all(place.policy()).unwrap();
    let generation = |name: &str, envelope: &Envelope| {
        write_manifest(&place.policy().join(name), envelope).unwrap();
        symlink(name, place.policy().join("..data_tmp")).unwrap();
        fs::rename(place.policy().join("..data_tmp"), place.policy().join("..data")).unwrap();
    };
    generation("..2026_1", &place.manifest("cm-1", "a", A, 0));
    symlink("..data/manifests", place.policy().join("manifests")).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    for (generation_name, host, later) in [("..2026_2", B, 1), ("..2026_3", A, 2)] {
        generation(generation_name, &place.manifest("cm-1", "a", host, later));
        running.until_answer(host, &Ok("cm-1"));
    }
}

#[test]
fn a_directory_that_is_a_link_can_be_swapped_as_a_whole() {
    let place = Place::new();
    let root = place.directory.path();
    for (name, envelope) in
        [("one", place.manifest("cm-1", "a", A, 0)), ("two", place.manifest("cm-1", "a", B, 1))]
    {
        write_manifest(&root.join(name), &envelope).unwrap();
    }
    fs::remove_dir_all(place.policy()).unwrap();
    symlink("one", place.policy()).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    symlink("two", root.join("next")).unwrap();
    fs::rename(root.join("next"), place.policy()).unwrap();
    running.until_answer(B, &Ok("cm-1"));
    // And what is reported from now on is reported from the new place.
    write_manifest(&root.join("two"), &place.manifest("cm-1", "a", A, 2)).unwrap();
    running.until_answer(A, &Ok("cm-1"));
}

#[test]
fn taking_a_key_from_the_ring_takes_its_manifests_down() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(NEVER);
    let mut without = KeyRing::default();
    without.add(TrustedKey::new(key("new").id().clone(), key("new").public(), &[Role::Author])).unwrap();
    running.source.reload(without, Approvals::default(), PolicyBounds::default());
    running.until_answer(A, &Err(Reason::NoManifest));
    running.source.reload(place.ring(), Approvals::default(), PolicyBounds::default());
    running.until_answer(A, &Ok("cm-1"));
    fs::rename(place.policy(), place.directory.path().join("away")).unwrap();
    running.source.rescan();
    running.until_event("system.policy_source_fault", "manifests");
    running.source.reload(KeyRing::default(), Approvals::default(), PolicyBounds::default());
    running.until_answer(A, &Err(Reason::NoManifest));
}

#[test]
fn crls_are_handed_on_and_remembered() {
    let place = Place::new();
    let crl = [0x30, 0x01, 0x00];
    let running = place.start(NEVER);
    assert!(running.crls.lock().unwrap().is_empty());
    write_crl(&place.policy(), "ca.crl", &crl).unwrap();
    let handed_on = |running: &Running, origin: &str| {
        let deadline = Instant::now() + BOUND;
        while !running
            .crls
            .lock()
            .unwrap()
            .last()
            .is_some_and(|all| all.len() == 1 && all[0].origin == origin)
        {
            assert!(Instant::now() < deadline, "{origin}");
            thread::yield_now();
        }
    };
    handed_on(&running, "crls/ca.crl");
    drop(running);
    fs::remove_dir_all(place.policy().join("crls")).unwrap();
    handed_on(&place.start(NEVER), "kept:ca.crl");
}

#[test]
fn strange_files_are_refused_without_waiting_for_them() {
    let place = Place::new();
    let manifests = place.policy().join("manifests");
    place.put(&place.manifest("cm-1", "a", A, 0));
    make_fifo(&manifests.join("pipe.json"));
    fs::create_dir(manifests.join("folder.json")).unwrap();
    symlink("nowhere", manifests.join("dangling.json")).unwrap();
    symlink("/dev/zero", manifests.join("endless.json")).unwrap();
    fs::write(manifests.join("large.json"), vec![b' '; (2 << 20) + 1]).unwrap();
    fs::write(manifests.join("closed.json"), "x").unwrap();
    fs::set_permissions(manifests.join("closed.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let running = place.start(NEVER);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    running.until_event("control.manifest_refused", "pipe.json");
    running.until_event("control.manifest_refused", "large.json");
    running.until_event("control.manifest_refused", "endless.json");
}

/// A named pipe, made by the tool that every system has.
fn make_fifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn two_gateways_cannot_share_one_state_directory() {
    let place = Place::new();
    let _running = place.start(NEVER);
    let registry = Registry::new();
    let recorder =
        Recorder::open(RecorderOptions::new("gw-2", Sink::Memory(MemoryLog::new())), &registry).unwrap();
    let options = DirOptions::new(place.policy(), place.state(), place.ring(), PolicyBounds::default());
    let feed = Arc::new(Feed::new(PolicyBounds::default()));
    let second = DirSource::start(options, feed, recorder, &registry, Box::new(|_| ()));
    assert!(matches!(second, Err(SourceFault::Journal(crate::journal::JournalFault::InUse { .. }))));
}

#[test]
fn a_flood_of_files_is_applied_completely() {
    let place = Place::new();
    place.put(&place.manifest("cm-1", "a", A, 0));
    let running = place.start(Duration::from_secs(1));
    for number in 0..2000 {
        let target = Target::Manifest(format!("cm-x{number}").parse().unwrap());
        let (envelope, _) = sign_revocation(target, "flood", Timestamp::now(), &place.revoker).unwrap();
        fs::write(place.policy().join(format!("revocations/{number}.json")), envelope.to_json()).unwrap();
    }
    running.until("all of them", |snapshot| snapshot.revocations().len() == 2000);
    assert_eq!(running.ask(A), Ok("cm-1".into()));
    drop(running);
    fs::remove_dir_all(place.policy().join("revocations")).unwrap();
    assert_eq!(place.start(NEVER).feed.current().revocations().len(), 2000);
}
