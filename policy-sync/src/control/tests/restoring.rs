//! Snapshots, restarts, and restores from a backup.

use super::*;
use crate::log::SnapshotHead;
use crate::transport::Transport as _;

/// What a plane comes to, for comparing.
fn summary(plane: &Plane) -> String {
    plane.with_state(|state| {
        let mut manifests: Vec<_> = state
            .policy()
            .manifests()
            .map(|live| {
                let note = state.manifest(&live.digest).unwrap();
                format!("{} {} {} {}", live.manifest.id, note.sequence, note.by, note.at)
            })
            .collect();
        manifests.sort_unstable();
        let revocations = state.revocations(0).filter(|(_, note)| note.lifted.is_none());
        let revocations: Vec<_> = revocations
            .map(|(sequence, note)| format!("{sequence} {} {} {}", note.revocation.id, note.by, note.at))
            .collect();
        format!("{} {manifests:?} {revocations:?} {}", state.position(), state.lift_count())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_plane_comes_to_the_same_from_a_snapshot_and_from_the_records() {
    let site = Site::new();
    let plane = site.plane().await;
    for number in 0..40 {
        let name = format!("device-{number}");
        plane.submit(site.manifest(&format!("cm-{number}"), &name, 60), "alice").await.unwrap();
        plane.revoke(order(device(&name))).await.unwrap();
    }
    plane.take_snapshot().await.unwrap();
    for number in 0..10 {
        // Superseded, withdrawn, lifted: each takes something out of the snapshot before.
        let name = format!("device-{number}");
        plane.submit(site.manifest(&format!("cm-new-{number}"), &name, 30), "bob").await.unwrap();
        plane.lift(u64::try_from(2 * number + 2).unwrap(), None, "", "bob").await.unwrap();
        let id = format!("cm-{}", number + 20).parse().unwrap();
        let digest = plane.with_state(|state| state.policy().manifest(&id).unwrap().digest);
        plane.submit(Entry::Withdrawal { id, digest }, "bob").await.unwrap();
    }
    let before = summary(&plane);
    drop(plane);
    let from_records = site.over(site.log.clone()).plane().await;
    assert_eq!(summary(&from_records), before);
    from_records.take_snapshot().await.unwrap();
    site.log.forget_records();
    drop(from_records);
    let from_snapshot = site.over(site.log.clone()).plane().await;
    assert_eq!(summary(&from_snapshot), before);
    // The log goes on behind the snapshot.
    assert_eq!(from_snapshot.revoke(order(Target::All)).await.unwrap().sequence, 111);
    assert_eq!(from_snapshot.with_state(|state| state.policy().manifest_count()), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_manifest_makes_no_room_for_an_older_one_after_a_restart() {
    let site = Site::new();
    let plane = site.plane().await;
    let (old, new) = (site.manifest("cm-1", "device-1", 60), site.manifest("cm-1", "device-1", 30));
    plane.submit(new.clone(), "alice").await.unwrap();
    let id: config::ManifestId = "cm-1".parse().unwrap();
    let digest = plane.with_state(|state| state.policy().manifest(&id).unwrap().digest);
    plane.submit(Entry::Withdrawal { id: id.clone(), digest }, "alice").await.unwrap();
    plane.take_snapshot().await.unwrap();
    site.log.forget_records();
    drop(plane);
    let plane = site.over(site.log.clone()).plane().await;
    assert!(matches!(plane.submit(old, "eve").await, Err(SubmitFault::NotAdmitted(_))));
    assert_eq!(plane.with_state(|state| state.policy().manifest_count()), 0);
    // The very one that was withdrawn may come back.
    assert_eq!(plane.submit(new, "alice").await.unwrap().sequence, 3);
    plane.take_snapshot().await.unwrap();
    site.log.forget_records();
    let plane = site.over(site.log.clone()).plane().await;
    assert_eq!(plane.with_state(|state| state.policy().manifest_count()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_restored_from_a_backup_goes_on_in_a_new_epoch() {
    let site = Site::new();
    let plane = site.plane().await;
    plane.revoke(order(device("device-1"))).await.unwrap();
    let backup = site.log.copy();
    plane.revoke(order(device("device-2"))).await.unwrap();
    let lost = plane.with_state(super::super::State::position);
    drop(plane);
    let restored = site.over(backup);
    let plane = Plane::open(PlaneOptions { new_epoch: true, ..restored.options() }).await.unwrap();
    let position = plane.with_state(super::super::State::position);
    assert!(position.epoch > lost.epoch);
    assert_eq!(position.sequence, 1);
    let head = SnapshotHead::open(&restored.log.snapshot().await.unwrap().unwrap(), &site.ring).unwrap();
    assert_eq!(head.position, position);
    assert_eq!(plane.revoke(order(device("device-3"))).await.unwrap().sequence, 2);
    let known = plane.with_state(|state| {
        ["device-1", "device-2", "device-3"].map(|name| state.policy().revocations().contains(&device(name)))
    });
    assert_eq!(known, [true, false, true]);
    drop(plane);
    // From then on it is an ordinary log, of the new epoch.
    let again = restored.over(restored.log.clone()).plane().await;
    assert_eq!(again.with_state(|state| state.position().epoch), position.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_which_everything_is_needed_stay_as_they_are() {
    let site = Site::new();
    let plane = site.plane().await;
    // Reasons of a kilobyte: some 500 of them fill a chunk.
    let revoke = async |number: usize| {
        let reason = "x".repeat(1000);
        let target = device(&format!("device-{number}"));
        let what = RevokeWhat::Unsigned { target, reason, timestamp: None };
        plane.revoke(RevokeOrder { what, ..order(Target::All) }).await.unwrap();
    };
    let chunks = async || {
        let head = site.log.snapshot().await.unwrap().unwrap();
        SnapshotHead::open(&head, &site.ring).unwrap().chunks
    };
    for number in 0..700 {
        revoke(number).await;
    }
    plane.take_snapshot().await.unwrap();
    let first = chunks().await;
    assert!(first.len() >= 2, "{}", first.len());
    for number in 700..800 {
        revoke(number).await;
    }
    plane.take_snapshot().await.unwrap();
    let second = chunks().await;
    assert_eq!(first[0], second[0]);
    plane.lift(1, None, "", "bob").await.unwrap();
    plane.take_snapshot().await.unwrap();
    assert_ne!(chunks().await[0], second[0]);
    let again = site.over(site.log.clone()).plane().await;
    assert_eq!(again.with_state(|state| state.policy().revocations().len()), 799);
}
