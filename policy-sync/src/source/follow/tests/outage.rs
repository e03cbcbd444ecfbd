//! A control plane that is away for a day, by a clock that the test moves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::plane::Wire;
use super::*;
use crate::source::memory::Durability;

const DAY: i64 = 24 * 60 * 60;

/// A clock so many seconds ahead of the present.
fn moved() -> (Arc<AtomicI64>, Clock) {
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = ahead.clone();
    (ahead, Arc::new(move || Timestamp::now() + SignedDuration::from_secs(clock.load(Ordering::SeqCst))))
}

fn at(ahead: &AtomicI64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::SeqCst))
}

fn age(bench: &Bench) -> i64 {
    i64::try_from(bench.feed.age().unwrap().as_secs()).unwrap()
}

#[test]
fn after_a_day_without_it_the_first_word_of_the_control_plane_makes_everything_fresh_again() {
    let (ahead, clock) = moved();
    let mut plane = Plane::new();
    let mut bench = Bench::on(Arc::new(tempfile::tempdir().unwrap()), &plane, clock.clone());
    bench.begin(&plane);
    let (manifest, frozen) = (plane.manifest("cm-1", "a"), plane.heartbeat_at(at(&ahead)));
    bench.take(&plane.append(manifest));
    bench.take(&frozen);
    assert!(age(&bench) < 60);
    bench.keep();

    ahead.store(DAY, Ordering::SeqCst);
    // What was said before the outage says nothing now, and what was held back since is as old as it is.
    let before = bench.refused(refusal::Refusal::Replayed);
    bench.take(&frozen);
    assert_eq!(bench.refused(refusal::Refusal::Replayed), before + 1);
    bench.take(&plane.heartbeat_at(at(&ahead) - SignedDuration::from_secs(DAY - 30)));
    assert!((DAY - 60..DAY + 60).contains(&age(&bench)), "{}", age(&bench));
    assert_eq!(bench.contents().0.len(), 1, "it keeps what it has");

    // A restart in the middle of it begins as stale as that is.
    let state = bench.state.clone();
    bench.keep();
    drop(bench);
    let mut bench = Bench::on(state, &plane, clock);
    assert!((DAY - 60..DAY + 60).contains(&age(&bench)), "{}", age(&bench));
    assert_eq!((bench.contents().0.len(), bench.sequence()), (1, 1));

    // It is back: what was missed is made up for, and only then is the policy fresh.
    let (_, missed) = plane.revocation("device-1");
    plane.append(missed);
    bench.take(&plane.heartbeat_at(at(&ahead)));
    assert!(age(&bench) > DAY - 60);
    bench.catch_up(&plane);
    assert!(age(&bench) < 60);
    assert_eq!(bench.contents().1, ["device:device-1"]);
}

#[test]
fn a_source_outlives_an_outage_without_anybody_doing_anything() {
    let (state, mut plane, wire) = (tempfile::tempdir().unwrap(), Plane::new(), Wire::up());
    let registry = Registry::new();
    let log = MemoryLog::new();
    let recorder =
        Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &registry).unwrap();
    let feed = Arc::new(Feed::new(PolicyBounds::default()));
    let (ahead, clock) = moved();
    let mut options = FollowOptions::new(state.path(), plane.ring(), PolicyBounds::default(), wire.clone());
    options.clock = clock;
    let source = FollowSource::start(options, feed.clone(), recorder, &registry, Box::new(|_| {})).unwrap();
    wire.send(&plane.heartbeat());
    let manifest = plane.manifest("cm-1", "a");
    wire.send(&plane.append(manifest));
    wire.serve(&plane);
    wire.reported(plane.position);

    wire.go_away();
    ahead.store(DAY, Ordering::SeqCst);
    assert!(log.wait_until(Duration::from_secs(20), |events| {
        events.iter().any(|event| event["event_type"] == "system.policy_source_fault")
    }));
    let (_, missed) = plane.revocation("device-1");
    plane.append(missed);
    wire.serve(&plane);
    wire.come_back();
    wire.send(&plane.heartbeat_at(at(&ahead)));
    wire.reported(plane.position);
    assert_eq!(contents(&feed.current()).1, ["device:device-1"]);
    assert!(feed.age().unwrap() < Duration::from_secs(60));
    drop(source);
}

#[test]
fn an_outage_of_the_disk_delays_receipts_and_no_revocation() {
    let mut plane = Plane::new();
    let mut bench = Bench::new(&plane);
    bench.begin(&plane);
    bench.keep();
    let (manifests, away) = (bench.state.path().join("manifests"), bench.state.path().join("away"));
    std::fs::rename(&manifests, &away).unwrap();
    let (manifest, (hint, _)) = (plane.manifest("cm-1", "a"), plane.revocation("device-1"));
    bench.take(&plane.append(manifest));
    bench.take(&hint);
    assert_eq!(bench.contents().1, ["device:device-1"]);
    let (writing, ..) = bench.replica.account();
    assert_eq!(bench.memory.write(writing), Durability::Behind);
    std::fs::rename(&away, &manifests).unwrap();
    assert_eq!(bench.memory.write(crate::source::memory::Writing::default()), Durability::Durable);
}
