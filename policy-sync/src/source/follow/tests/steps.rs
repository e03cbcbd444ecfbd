//! What is made of each thing that can be heard, step by step and without a link.

use std::collections::HashSet;
use std::time::Duration;

use super::refusal::Refusal;
use super::replica::Progress;
use super::*;
use crate::log::{Heartbeat, Position, Record};
use crate::transport::Frame;

#[test]
fn records_in_order_are_taken_and_those_that_come_twice_are_not() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (first, second) = (plane.manifest("cm-1", "a"), plane.manifest("cm-1", "a"));
    let (first, second) = (plane.append(first), plane.append(second));
    for frame in [&first, &first, &second, &first, &second] {
        bench.take(frame);
    }
    assert_eq!(bench.sequence(), 2);
    assert_eq!(bench.refused(Refusal::Replayed), 3);
    assert_eq!(bench.contents().0.len(), 1, "the later one has superseded the earlier one");
}

#[test]
fn a_gap_is_fetched_and_what_takes_away_does_not_wait_for_it() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let manifest = plane.manifest("cm-1", "a");
    plane.append(manifest);
    let (_, revocation) = plane.revocation("device-2");
    let ahead = plane.append(revocation);
    let later = plane.manifest("cm-2", "b");
    bench.take(&ahead);
    bench.take(&plane.append(later));
    assert_eq!((bench.sequence(), bench.refused(Refusal::Gap)), (0, 2));
    assert_eq!(bench.contents(), (vec![], vec!["device:device-2".to_owned()]));
    assert_eq!(bench.replica.want(), course::Want::Records);
    bench.catch_up(&plane);
    assert_eq!((bench.sequence(), bench.contents().0.len()), (3, 2));
    assert_eq!(bench.replica.want(), course::Want::Nothing);
}

#[test]
fn a_record_that_contradicts_the_log_is_refused_and_nothing_is_fresh_until_a_snapshot_settles_it() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let manifest = plane.manifest("cm-1", "a");
    bench.take(&plane.append(manifest.clone()));
    let other = plane.manifest("cm-2", "b");
    let start = Position::start_of(plane.position.epoch);
    let fork = Record::seal(&start, &other, "test", Timestamp::now(), &plane.control).unwrap();
    bench.take(&Frame::Record(fork.envelope));
    assert_eq!((bench.refused(Refusal::Fork), bench.contents().0.len()), (1, 1));
    bench.take(&plane.heartbeat());
    assert_eq!(bench.refused(Refusal::Fork), 2);
    assert!(!bench.is_fresh());
    assert_eq!(bench.replica.want(), course::Want::Snapshot);
    // A signed head says that this gateway is right.
    let (head, _) = plane.snapshot_of(&[manifest]);
    assert_eq!(bench.replica.take_head(&head).unwrap().1, course::Bearing::Here);
    bench.take(&plane.heartbeat());
    assert!(bench.is_fresh());
}

#[test]
fn a_record_behind_the_last_one_with_another_past_is_a_fork() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (manifest, other) = (plane.manifest("cm-1", "a"), plane.manifest("cm-2", "b"));
    bench.take(&plane.append(manifest));
    let elsewhere = Position { digest: [7; 32], ..plane.position };
    let fork = Record::seal(&elsewhere, &other, "test", Timestamp::now(), &plane.control).unwrap();
    bench.fetch(vec![fork.envelope]);
    assert_eq!((bench.refused(Refusal::Fork), bench.sequence()), (1, 1));
    bench.take(&plane.heartbeat());
    assert!(!bench.is_fresh());
}

#[test]
fn what_is_not_signed_by_the_right_role_or_is_something_else_is_refused() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (entry, (hint, revocation)) = (plane.manifest("cm-1", "a"), plane.revocation("device-2"));
    let by_author = Record::seal(&plane.position, &entry, "x", Timestamp::now(), &plane.author).unwrap();
    let stranger = crate::testing::key("stranger");
    let by_stranger = Record::seal(&plane.position, &entry, "x", Timestamp::now(), &stranger).unwrap();
    let Frame::Hint(revocation_envelope) = &hint else { panic!() };
    let Frame::Heartbeat(heartbeat) = plane.heartbeat() else { panic!() };
    let crate::log::Entry::Manifest(manifest) = &entry else { panic!() };
    let crate::log::Entry::Lift(lift) = plane.lift(&revocation) else { panic!() };
    for (frame, expected) in [
        (Frame::Record(by_author.envelope), Refusal::Forged),
        (Frame::Record(by_stranger.envelope), Refusal::Forged),
        (Frame::Record(heartbeat.clone()), Refusal::Malformed),
        (Frame::Record(revocation_envelope.clone()), Refusal::Malformed),
        (Frame::Record(bytes::Bytes::new()), Refusal::Malformed),
        (Frame::Heartbeat(revocation_envelope.slice(..9)), Refusal::Malformed),
        (Frame::Hint(heartbeat), Refusal::Malformed),
        (Frame::Hint(manifest.clone()), Refusal::Malformed),
        (Frame::Hint(lift), Refusal::Malformed),
    ] {
        let before = bench.refused(expected);
        bench.take(&frame);
        assert_eq!(bench.refused(expected), before + 1, "{frame:?}");
    }
    assert_eq!((bench.sequence(), bench.contents()), (0, (vec![], vec![])));
    // All of it within a second: each reason is told once.
    let told = |events: Vec<serde_json::Value>| {
        events.iter().filter(|event| event["event_type"] == "system.policy_frame_refused").count()
    };
    assert!(bench.log.wait_until(Duration::from_secs(10), |events| told(events.to_vec()) >= 2));
    assert!(told(bench.log.events()) < 9);
}

#[test]
fn a_revocation_comes_as_a_hint_and_as_a_record_and_is_enforced_once() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (hint, entry) = plane.revocation("device-2");
    bench.take(&hint);
    let (_, _, enforced) = bench.replica.account();
    assert_eq!(enforced.len(), 1);
    bench.take(&plane.append(entry.clone()));
    assert_eq!((bench.sequence(), bench.replica.account().2.len()), (1, 0));
    // Once lifted, neither brings it back.
    let lift = plane.lift(&entry);
    bench.take(&plane.append(lift));
    assert_eq!(bench.contents().1, Vec::<String>::new());
    bench.take(&hint);
    assert_eq!(bench.contents().1, Vec::<String>::new());
    assert_eq!(bench.refused(Refusal::Replayed), 1);
}

#[test]
fn heartbeats_count_once_each_and_only_for_what_was_followed() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let now = Timestamp::now();
    let beat =
        |plane: &Plane, seconds: i64| plane.heartbeat_at(now + jiff::SignedDuration::from_secs(seconds));
    bench.take(&beat(&plane, -20));
    let age = bench.feed.age().unwrap();
    assert!(age >= Duration::from_secs(20) && age < Duration::from_secs(30), "{age:?}");
    // Again, and an earlier one: a feed that is frozen or replayed becomes no fresher.
    bench.take(&beat(&plane, -20));
    bench.take(&beat(&plane, -25));
    assert_eq!(bench.refused(Refusal::Replayed), 2);
    bench.take(&beat(&plane, 60));
    assert_eq!(bench.refused(Refusal::Future), 1);
    assert!(bench.feed.age().unwrap() >= Duration::from_secs(20));
    // One that is ahead counts when its position is reached.
    let manifest = plane.manifest("cm-1", "a");
    let record = plane.append(manifest);
    bench.take(&beat(&plane, -10));
    assert!(bench.feed.age().unwrap() >= Duration::from_secs(20));
    bench.take(&record);
    assert!(bench.feed.age().unwrap() < Duration::from_secs(20));
    // Of another epoch.
    for (epoch, expected) in [
        (plane.position.epoch - 1, Refusal::Rollback),
        (plane.position.epoch + 1, Refusal::Epoch),
        (now.as_second().unsigned_abs() + 1000, Refusal::Future),
    ] {
        let heartbeat = Heartbeat { epoch, sequence: 0, now };
        let before = bench.refused(expected);
        bench.take(&Frame::Heartbeat(heartbeat.seal(&plane.control)));
        assert_eq!(bench.refused(expected), before + 1);
    }
}

#[test]
fn a_later_epoch_is_entered_by_a_snapshot_only_and_an_earlier_one_never() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (old, (_, revocation)) = (plane.manifest("cm-1", "a"), plane.revocation("device-2"));
    bench.take(&plane.append(old.clone()));
    bench.take(&plane.append(revocation));
    let before = plane.position;
    let (old_head, _) = plane.snapshot_of(&[old]);
    plane.found_anew();
    let new = plane.manifest("cm-2", "b");
    bench.take(&plane.append(new.clone()));
    assert_eq!((bench.refused(Refusal::Epoch), bench.sequence()), (1, 2));
    assert_eq!(bench.replica.want(), course::Want::Snapshot);
    let (head, chunks) = plane.snapshot_of(&[new]);
    let (head, bearing) = bench.replica.take_head(&head).unwrap();
    assert_eq!(bearing, course::Bearing::Ahead);
    let mut named = HashSet::new();
    for (digest, chunk) in &chunks {
        let entries = crate::log::read_chunk(digest, chunk).unwrap();
        let entries = proof::check_all(entries, &bench.replica.authorities());
        bench.replica.take_entries(entries, &mut named);
    }
    bench.replica.arrive_by_snapshot(head.position, &named);
    let (manifests, revocations) = bench.contents();
    assert!(manifests.len() == 1 && manifests[0].starts_with("cm-2"), "{manifests:?}");
    assert_eq!(revocations, ["device:device-2"], "another epoch lifts nothing");

    // What the old epoch says counts no more, across a restart neither.
    let mut bench = bench.restart(&plane);
    assert_eq!(bench.replica.course.position(), Some(plane.position));
    assert_eq!(bench.replica.take_head(&old_head).err(), Some(Refusal::Rollback));
    let stale = plane.manifest("cm-3", "c");
    let stale = Record::seal(&before, &stale, "test", Timestamp::now(), &plane.control).unwrap();
    bench.take(&Frame::Record(stale.envelope));
    assert_eq!(bench.refused(Refusal::Rollback), 2);
    assert_eq!(bench.contents().0.len(), 1);
}

#[test]
fn an_epoch_that_has_not_begun_is_refused() {
    let plane = Plane::new();
    let mut bench = Bench::new(&plane);
    let mut later = Plane::founded(Timestamp::now().as_second() + 3600);
    later.control = crate::testing::key("unused");
    std::mem::swap(&mut later.control, &mut { plane }.control);
    let (head, _) = later.snapshot_of(&[]);
    assert_eq!(bench.replica.take_head(&head).err(), Some(Refusal::Future));
    bench.take(&later.heartbeat());
    let manifest = later.manifest("cm-1", "a");
    bench.take(&later.append(manifest));
    bench.replica.go_without_snapshot();
    assert_eq!(bench.replica.course.position(), None);
    assert_eq!(bench.refused(Refusal::Future), 3);
}

#[test]
fn a_snapshot_behind_this_gateway_is_not_taken() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let manifest = plane.manifest("cm-1", "a");
    bench.take(&plane.append(manifest.clone()));
    let (old, _) = plane.snapshot_of(&[manifest]);
    let second = plane.manifest("cm-2", "b");
    bench.take(&plane.append(second));
    assert_eq!(bench.replica.take_head(&old).err(), Some(Refusal::Rollback));
    assert_eq!((bench.sequence(), bench.contents().0.len()), (2, 2));
}

#[test]
fn a_log_that_was_rolled_back_does_not_roll_this_gateway_back_not_even_after_a_restart() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (manifest, (_, revocation)) = (plane.manifest("cm-1", "a"), plane.revocation("device-1"));
    let first = plane.append(manifest.clone());
    let restored = plane.position;
    bench.take(&first);
    bench.take(&plane.append(revocation));
    bench.take(&plane.append(Plane::withdrawal(&manifest)));
    let mut bench = bench.restart(&plane);
    assert_eq!(bench.sequence(), 3);
    // The control plane comes back from an old copy, and goes on from there.
    let again = plane.manifest("cm-9", "z");
    let fork = Record::seal(&restored, &again, "test", Timestamp::now(), &plane.control).unwrap();
    bench.take(&first);
    bench.take(&Frame::Record(fork.envelope.clone()));
    assert_eq!(bench.fetch(vec![fork.envelope]), Progress::Nothing);
    assert_eq!(bench.contents(), (vec![], vec!["device:device-1".to_owned()]));
    assert_eq!(bench.sequence(), 3);
}

#[test]
fn a_withdrawal_names_one_payload_and_no_other() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let (first, second) = (plane.manifest("cm-1", "a"), plane.manifest("cm-1", "a"));
    for entry in [first.clone(), second.clone(), Plane::withdrawal(&first)] {
        bench.take(&plane.append(entry));
    }
    assert_eq!(bench.contents().0.len(), 1);
    // Brought twice, gone at once.
    for entry in [second.clone(), Plane::withdrawal(&second)] {
        bench.take(&plane.append(entry));
    }
    assert_eq!((bench.contents().0.len(), bench.sequence()), (0, 5));
    let bench = bench.restart(&plane);
    assert_eq!((bench.contents().0.len(), bench.sequence()), (0, 5));
}

#[test]
fn a_manifest_whose_time_has_not_come_waits_for_it_across_a_restart() {
    let plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let mut plane = plane;
    let future = Timestamp::now().as_second() + 3600;
    let draft = crate::testing::Draft::default().read();
    let envelope = crate::signed::sign_manifest(draft, future, &plane.author).to_json();
    bench.take(&plane.append(crate::log::Entry::Manifest(envelope.into())));
    assert_eq!((bench.sequence(), bench.contents().0.len()), (1, 0));
    assert_eq!(bench.replica.holdings.waiting().len(), 1);
    let mut bench = bench.restart(&plane);
    let parked = bench.replica.holdings.all_parked();
    assert_eq!(parked.len(), 1);
    let again = errand::reprove(&bench.memory.kept, &parked, &bench.replica.authorities());
    for (digest, envelope) in again {
        bench.replica.holdings.reconsider(&mut bench.replica.intake, &digest, envelope);
    }
    assert_eq!(bench.replica.holdings.waiting().len(), 1);
}

#[test]
fn a_position_is_not_written_down_before_what_leads_to_it() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let kept = bench.state.path().join("manifests");
    let away = bench.state.path().join("away");
    std::fs::rename(&kept, &away).unwrap();
    let manifest = plane.manifest("cm-1", "a");
    bench.take(&plane.append(manifest));
    let (writing, ..) = bench.replica.account();
    assert_eq!(bench.memory.write(writing), crate::source::memory::Durability::Behind);
    let journal = || std::fs::read_to_string(bench.state.path().join("journal.jsonl")).unwrap();
    assert!(!journal().contains("\"sequence\":1"));
    // What is owed is made up for as soon as that is possible.
    std::fs::rename(&away, &kept).unwrap();
    assert_eq!(bench.memory.write(Default::default()), crate::source::memory::Durability::Durable);
    assert!(journal().contains("\"sequence\":1"));
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
}

/// Notes which tickets the desk had given out when policy was put in force.
struct Noting {
    desk: keeper::Desk,
    tickets: std::sync::Mutex<Vec<keeper::Ticket>>,
}

impl crate::feed::Enforcer for Noting {
    fn enforce(&self, _: &Arc<Snapshot>, _: &crate::change::Change) -> crate::feed::Receipt {
        self.tickets.lock().unwrap().push(self.desk.put(crate::source::memory::Writing::default()));
        crate::feed::Receipt::default()
    }
}

#[test]
fn the_disk_has_a_revocation_before_its_sessions_are_cut() {
    let plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    let desk = keeper::Desk::default();
    let noting = Arc::new(Noting { desk: desk.clone(), tickets: std::sync::Mutex::default() });
    bench.feed.subscribe(noting.clone());
    bench.replica.remember_at(desk);
    let (hint, _) = plane.revocation("device-1");
    bench.take(&hint);
    let tickets = noting.tickets.lock().unwrap().clone();
    assert_eq!(tickets.len(), 1);
    assert!(tickets[0] > keeper::Ticket::default(), "it was handed over first");
    let (left, ..) = bench.replica.account();
    assert!(
        left.entries.iter().all(|entry| !matches!(entry, crate::journal::Entry::Statement(_))),
        "and once"
    );
}
