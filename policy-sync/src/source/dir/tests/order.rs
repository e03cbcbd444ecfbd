//! Which of two files counts, and what never comes back?

use super::*;

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
