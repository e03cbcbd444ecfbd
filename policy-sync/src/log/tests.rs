use config::ManifestId;

use super::*;
use crate::keys::{SigningKey, TrustedKey};
use crate::testing::key;

fn ring(key: &SigningKey, role: Role) -> KeyRing {
    let mut ring = KeyRing::default();
    ring.add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
    ring
}

fn entries() -> Vec<Entry> {
    let envelope = bytes::Bytes::from_static(br#"{"payloadType":"x","payload":"","signatures":[]}"#);
    vec![
        Entry::Manifest(envelope.clone()),
        Entry::Withdrawal { id: "cm-1".parse::<ManifestId>().unwrap(), digest: [7; 32] },
        Entry::Revocation(envelope.clone()),
        Entry::Lift(envelope),
        Entry::Crl(bytes::Bytes::from_static(&[0x30, 1, 0])),
    ]
}

#[test]
fn a_record_reads_back_as_it_was_sealed_and_follows_the_one_before_it() {
    let control = key("control-1");
    let ring = ring(&control, Role::Control);
    let mut position = Position::start_of(1_000);
    for entry in entries() {
        let sealed = Record::seal(&position, &entry, "alice", Timestamp::UNIX_EPOCH, &control).unwrap();
        let record = Record::open(&sealed.envelope, &ring).unwrap();
        assert_eq!((record.position, &record.entry), (sealed.position, &entry));
        assert!(record.follows(&position));
        assert!(!record.follows(&record.position));
        assert!(!record.follows(&Position { epoch: 999, ..position }));
        assert!(!record.follows(&Position { digest: [9; 32], ..position }));
        position = record.position;
    }
    assert_eq!(position.sequence, 5);
}

#[test]
fn what_no_control_plane_signed_is_not_of_the_log() {
    let (control, revoker) = (key("control-1"), key("revoker-1"));
    let start = Position::start_of(1);
    let record = Record::seal(&start, &entries()[1], "x", Timestamp::UNIX_EPOCH, &revoker).unwrap();
    assert_eq!(Record::open(&record.envelope, &ring(&revoker, Role::Revoker)), Err(LogFault::Role));
    assert!(matches!(
        Record::open(&record.envelope, &ring(&control, Role::Control)),
        Err(LogFault::Envelope(_))
    ));
    let heartbeat = Heartbeat { epoch: 1, sequence: 2, now: Timestamp::UNIX_EPOCH };
    assert_eq!(Heartbeat::open(&heartbeat.seal(&control), &ring(&control, Role::Control)), Ok(heartbeat));
    assert_eq!(
        Heartbeat::open(&heartbeat.seal(&revoker), &ring(&revoker, Role::Revoker)),
        Err(LogFault::Role)
    );
    // One kind never passes for another.
    assert!(Record::open(&heartbeat.seal(&control), &ring(&control, Role::Control)).is_err());
}

#[test]
fn a_snapshot_reads_back_and_a_chunk_is_what_its_digest_says() {
    let control = key("control-1");
    let mut chunks = Chunks::default();
    for (sequence, entry) in (1..).zip(entries()) {
        let noted = Noted { sequence, at: Timestamp::UNIX_EPOCH, by: "alice".into(), entry };
        assert_eq!(chunks.add(&noted).unwrap(), None);
    }
    let (digest, chunk) = chunks.finish().unwrap();
    assert_eq!(chunks.finish(), None);
    assert_eq!(read_chunk(&digest, &chunk).unwrap(), entries());
    assert_eq!(read_noted(&digest, &chunk).unwrap().last().map(|noted| noted.sequence), Some(5));
    assert!(read_chunk(&[0; 32], &chunk).is_err());
    let position = Position { epoch: 1, sequence: 5, digest: [3; 32] };
    let head = SnapshotHead { position, at: Timestamp::UNIX_EPOCH, chunks: vec![digest] };
    assert_eq!(SnapshotHead::open(&head.seal(&control), &ring(&control, Role::Control)), Ok(head));
}
