//! Keys that go, CRLs, files that are none, and many at once.

use super::*;

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
