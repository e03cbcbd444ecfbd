//! When does a file take effect, and what is said of it?

use super::*;

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
