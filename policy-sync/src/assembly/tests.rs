//! What is admitted, what it takes the place of, and what never comes back.

use std::time::{Duration, Instant};

use super::*;
use crate::change::{Change, Touched};
use crate::signed::Lift;
use crate::testing::{Draft, device, revocation};

const NOW: i64 = 10_000;

fn signed(draft: &Draft<'_>, issued_at: i64) -> SignedManifest {
    let live = draft.live(issued_at);
    SignedManifest { manifest: live.manifest, issued_at, digest: live.digest, signers: Vec::new() }
}

fn assembly() -> Assembly {
    Assembly::new(0, PolicyBounds::default())
}

fn ids(assembly: &Assembly) -> Vec<String> {
    let mut ids: Vec<_> = assembly.working().manifests().map(|live| live.manifest.id.to_string()).collect();
    ids.sort();
    ids
}

const ONE: Draft<'static> = Draft {
    id: "cm-1",
    agent: "agent-1",
    user: "alice",
    device: "device-1",
    allow: "",
    deny: "",
    more: "",
    ttl: 3600,
};

#[test]
fn a_later_manifest_supersedes_by_id_and_by_agent_and_device() {
    for (later, left) in [
        (Draft { allow: r#""b.test""#, ..ONE }, vec!["cm-1"]),
        (Draft { id: "cm-2", ..ONE }, vec!["cm-2"]),
        (Draft { device: "device-2", agent: "agent-2", ..ONE }, vec!["cm-1"]),
        (Draft { id: "cm-2", agent: "agent-2", ..ONE }, vec!["cm-1", "cm-2"]),
        (Draft { id: "cm-2", device: "device-2", ..ONE }, vec!["cm-1", "cm-2"]),
    ] {
        let mut assembly = assembly();
        assembly.admit(signed(&ONE, 100), NOW).unwrap();
        let admission = assembly.admit(signed(&later, 101), NOW).unwrap();
        assert_eq!(ids(&assembly), left);
        assert_eq!(admission.displaced.len(), 2 - left.len());
        let back = assembly.admit(signed(&ONE, 100), NOW);
        assert_eq!(
            back.is_ok(),
            left.len() == 2,
            "the older one comes back only where it was not superseded"
        );
        assert_eq!(ids(&assembly), left);
    }
}

#[test]
fn one_manifest_can_take_the_places_of_two() {
    let mut assembly = assembly();
    assembly.admit(signed(&ONE, 100), NOW).unwrap();
    assembly.admit(signed(&Draft { id: "cm-2", device: "device-2", ..ONE }, 100), NOW).unwrap();
    let both = assembly.admit(signed(&Draft { device: "device-2", ..ONE }, 101), NOW).unwrap();
    assert_eq!(both.displaced.len(), 2);
    assert_eq!(ids(&assembly), ["cm-1"]);
    assert!(assembly.working().manifests_of(&device("device-1")).is_empty());
}

#[test]
fn the_same_second_is_a_conflict_and_the_same_manifest_is_not() {
    let mut assembly = assembly();
    assert!(assembly.admit(signed(&ONE, 100), NOW).unwrap().new);
    assert!(!assembly.admit(signed(&ONE, 100), NOW).unwrap().new);
    let other = Draft { allow: r#""b.test""#, ..ONE };
    assert_eq!(assembly.admit(signed(&other, 100), NOW).unwrap_err(), NotAdmitted::Conflict);
}

#[test]
fn a_manifest_that_is_issued_too_far_ahead_raises_no_mark() {
    let mut assembly = assembly();
    for ahead in [CLOCK_SKEW + 1, i64::MAX - NOW] {
        assert_eq!(assembly.admit(signed(&ONE, NOW + ahead), NOW).unwrap_err(), NotAdmitted::FromTheFuture);
    }
    assert!(assembly.admit(signed(&ONE, NOW + CLOCK_SKEW), NOW).is_ok());
}

#[test]
fn a_manifest_is_withdrawn_with_its_last_holder() {
    let mut assembly = assembly();
    let manifest = signed(&ONE, 100);
    let (id, digest) = (manifest.manifest.id.clone(), manifest.digest);
    assembly.admit(manifest.clone(), NOW).unwrap();
    assembly.admit(manifest.clone(), NOW).unwrap();
    assert!(assembly.withdraw(&id, &digest).is_none());
    assert!(assembly.withdraw(&id, &digest).is_some());
    assert!(assembly.withdraw(&id, &digest).is_none());
    assert_eq!(assembly.working().manifest_count(), 0);
    assert!(!assembly.admit(manifest, NOW).unwrap().new, "the very same one may come back");
}

#[test]
fn letting_go_of_a_superseded_manifest_leaves_the_one_in_its_place() {
    let mut assembly = assembly();
    let old = signed(&ONE, 100);
    assembly.admit(old.clone(), NOW).unwrap();
    assembly.admit(signed(&ONE, 101), NOW).unwrap();
    assert!(assembly.withdraw(&old.manifest.id, &old.digest).is_none());
    assert_eq!(ids(&assembly), ["cm-1"]);
}

#[test]
fn a_snapshot_comes_only_when_something_has_changed() {
    let mut assembly = assembly();
    assert_eq!(assembly.next_snapshot().unwrap().revision, 1, "the first one says that there is nothing");
    assert!(assembly.next_snapshot().is_none());
    let statement = Statement::Revoke(revocation(Target::Device(device("d"))));
    assert!(assembly.apply(&statement));
    assert_eq!(assembly.next_snapshot().unwrap().revision, 2);
    assert!(!assembly.apply(&statement), "it is known");
    assert!(assembly.next_snapshot().is_none());
}

#[test]
fn a_lifting_undoes_its_revocation_in_either_order_and_no_other() {
    let revoked = revocation(Target::Device(device("d")));
    let again = Revocation { id: StatementId::of_digest(&[9; 32]), ..revoked.clone() };
    let (id, target) = (revoked.id, revoked.target.clone());
    let lift =
        Statement::Lift(Lift { id, lifts: id, target: target.clone(), reason: "x".into(), timestamp: 0 });
    let revoke = Statement::Revoke(revoked);
    for order in [[&revoke, &lift], [&lift, &revoke]] {
        let mut assembly = assembly();
        assert!(order.map(|statement| assembly.apply(statement))[0]);
        assert!(assembly.working().revocations().is_empty());
        assert!(assembly.knows(&revoke) && assembly.knows(&lift));
        assert!(assembly.apply(&Statement::Revoke(again.clone())));
        assert!(assembly.working().revocations().contains(&target));
        assert!(!assembly.apply(&lift), "it undoes nothing a second time");
        assert!(assembly.working().revocations().contains(&target));
    }
}

#[test]
fn a_lifting_that_names_another_target_undoes_nothing_and_blocks_nothing() {
    let revoked = revocation(Target::Device(device("d")));
    let lift = |target: Target| {
        Statement::Lift(Lift { id: revoked.id, lifts: revoked.id, target, reason: "x".into(), timestamp: 0 })
    };
    let mut assembly = assembly();
    assembly.apply(&Statement::Revoke(revoked.clone()));
    for wrong in [Target::All, Target::Device(device("e")), Target::Manifest("cm-1".parse().unwrap())] {
        assembly.apply(&lift(wrong));
        assert_eq!(assembly.working().revocations().len(), 1);
    }
    assembly.apply(&lift(revoked.target.clone()));
    assert!(assembly.working().revocations().is_empty());
}

#[test]
fn other_bounds_cap_every_life_anew() {
    let mut assembly = assembly();
    assembly.admit(signed(&ONE, 100), NOW).unwrap();
    assembly.rebound(PolicyBounds { max_ttl: Duration::from_secs(5), ..PolicyBounds::default() });
    let snapshot = assembly.next_snapshot().unwrap();
    assert_eq!(snapshot.manifest(&"cm-1".parse().unwrap()).unwrap().expires_at, 105);
}

#[test]
fn one_more_revocation_among_many_costs_little() {
    let mut assembly = assembly();
    for number in 0..100_000 {
        let target = Target::Device(format!("device-{number}").parse().unwrap());
        assembly.apply(&Statement::Revoke(revocation(target)));
    }
    let mut previous = assembly.next_snapshot().unwrap();
    let mut fastest = Duration::MAX;
    for number in 0..50 {
        let revoked = Statement::Revoke(revocation(Target::User(format!("user-{number}").parse().unwrap())));
        let began = Instant::now();
        assert!(assembly.apply(&revoked));
        let next = assembly.next_snapshot().unwrap();
        let change = Change::between(&previous, &next);
        fastest = fastest.min(began.elapsed());
        assert!(matches!(change.touched, Touched::Some(subjects) if subjects.users.len() == 1));
        previous = next;
    }
    // Copying the set would take a hundred times as long, even here without optimisation.
    assert!(fastest < Duration::from_millis(3), "the fastest of fifty took {fastest:?}");
}
