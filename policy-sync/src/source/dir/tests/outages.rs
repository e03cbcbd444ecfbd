//! What becomes of a directory that goes away, comes back, or is swapped for another?

use super::*;

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
