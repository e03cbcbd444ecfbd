//! A log that has come to a lot: how long both ends take to start over it, what it costs them, and how soon one revocation
//! more is in force.
//!
//! The log is written beforehand, as the snapshot that a control plane would have kept. `PORTCULLIS_MANIFESTS` and
//! `PORTCULLIS_REVOCATIONS` say how much; with a release build it prints the figures of SPECIFICATION.md.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lab::dice::number;
use lab::policy::signed_manifest;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Fleet, Role};
use policy_sync::keys::SigningKey;
use policy_sync::log::{Chunks, Entry, Noted, Position, SnapshotHead};
use policy_sync::transport::Transport;
use policy_sync::transport::embedded::Embedded;
use policy_sync::{Target, sign_revocation};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_come_to_a_lot_is_followed_from_its_snapshot() {
    let manifests = number("PORTCULLIS_MANIFESTS", 300);
    let revocations = number("PORTCULLIS_REVOCATIONS", 2_000);
    // With a millisecond more for every entry.
    let long = PATIENCE + Duration::from_millis((manifests + revocations) as u64);
    let origin = Capture::start(Behaviour::Echo).await;
    let mut fleet = Fleet::builder()
        .gateways(0)
        .member(|settings| {
            settings.set("policy.max_staleness", "600s");
        })
        .start()
        .await;
    fleet.crash_control();
    let log = fleet.dir().join("control/state/log");
    std::fs::remove_dir_all(&log).expect("an empty log");
    let begun = Instant::now();
    let last = write(&log, &fleet, &origin, manifests, revocations).await;
    println!(
        "{manifests} manifests and {revocations} revocations, signed and written in {:?}",
        begun.elapsed()
    );

    let begun = Instant::now();
    fleet.start_control_within(long).await;
    println!(
        "control plane: ready after {:?}, {} MiB",
        begun.elapsed(),
        mebibytes(fleet.control().resident())
    );

    let begun = Instant::now();
    fleet.add_gateway().await;
    followed(&fleet, last, long).await;
    let gateway = fleet.gateways[0].gateway();
    println!("gateway: followed it after {:?}, {} MiB", begun.elapsed(), mebibytes(gateway.resident()));
    fleet.device(0, "d-0").tunnel(&origin.destination()).await.echoes(b"one of many").await;
    let revoked = fleet.device(0, &format!("d-{}", manifests - 1));
    assert!(
        !matches!(revoked.connect(&origin.destination()).await, Ok(Ok(_))),
        "its revocation was in the snapshot"
    );

    let api = fleet.api(Role::Revoker);
    let mut times = Vec::new();
    for round in 0..10 {
        let mut tunnel = fleet.device(0, &format!("d-{round}")).tunnel(&origin.destination()).await;
        tunnel.echoes(b"before").await;
        let begun = Instant::now();
        let receipt = api.revoke(&json!({"device": format!("d-{round}")}), "one more", PATIENCE).await;
        times.push(begun.elapsed());
        assert_eq!(receipt["applied"][0]["sessions_cut"], 1, "{receipt}");
        assert_eq!(tunnel.rest().await.1, lab::End::Broken);
    }
    times.sort_unstable();
    println!("one revocation more, to its answer: median {:?}, at most {:?}", times[5], times[9]);

    fleet.gateways[0].crash();
    let begun = Instant::now();
    fleet.gateways[0].start_again().await;
    println!("gateway: started again from its own disk, ready after {:?}", begun.elapsed());
    assert!(
        !matches!(fleet.device(0, "d-9").connect(&origin.destination()).await, Ok(Ok(_))),
        "it has kept it"
    );
}

async fn followed(fleet: &Fleet, sequence: u64, limit: Duration) {
    eventually(limit, "the gateway follows the log", async || {
        let listed = fleet.listed().await;
        listed.iter().any(|gateway| gateway["sequence"].as_u64() >= Some(sequence)).then_some(())
    })
    .await;
    fleet.ready().await;
}

/// Writes the log: manifests for `d-0`, `d-1`, …, revocations of users that nobody has, the last one of the last device.
async fn write(
    directory: &Path,
    fleet: &Fleet,
    origin: &Capture,
    manifests: usize,
    revocations: usize,
) -> u64 {
    let log = Embedded::open(directory, &prometheus::Registry::new()).expect("a log");
    let mut snapshot = Snapshot { log: &*log, chunks: Chunks::default(), digests: Vec::new(), sequence: 0 };
    for number in 0..manifests {
        let draft = Draft::of(&format!("d-{number}")).raw(&origin.destination());
        let envelope = signed_manifest(&draft, Timestamp::now().as_second() - 1, &fleet.keys.author);
        snapshot.add(Entry::Manifest(envelope.into())).await;
    }
    for number in 0..revocations {
        let target = if number + 1 == revocations {
            Target::Device(format!("d-{}", manifests - 1).parse().expect("an id"))
        } else {
            Target::User(format!("nobody-{number}").parse().expect("a name"))
        };
        snapshot.add(Entry::Revocation(revocation(target, &fleet.keys.revoker).into())).await;
    }
    snapshot.finish(&fleet.keys.control).await
}

fn revocation(target: Target, key: &SigningKey) -> Vec<u8> {
    sign_revocation(target, "one of many", Timestamp::now(), key).expect("a nonce").0.to_json()
}

struct Snapshot<'a> {
    log: &'a dyn Transport,
    chunks: Chunks,
    digests: Vec<[u8; 32]>,
    sequence: u64,
}

impl Snapshot<'_> {
    async fn add(&mut self, entry: Entry) {
        self.sequence += 1;
        let noted = Noted { sequence: self.sequence, at: Timestamp::now(), by: "many".into(), entry };
        if let Some((digest, chunk)) = self.chunks.add(&noted).expect("an entry") {
            self.log.keep_chunk(&digest, chunk).await.expect("kept");
            self.digests.push(digest);
        }
    }

    async fn finish(mut self, key: &SigningKey) -> u64 {
        if let Some((digest, chunk)) = self.chunks.finish() {
            self.log.keep_chunk(&digest, chunk).await.expect("kept");
            self.digests.push(digest);
        }
        let at = Timestamp::now();
        let epoch = u64::try_from(at.as_second()).expect("after 1970");
        let position = Position { epoch, sequence: self.sequence, digest: [7; 32] };
        let head = SnapshotHead { position, at, chunks: self.digests };
        self.log.keep_snapshot(head.seal(key), self.sequence).await.expect("kept");
        self.sequence
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}
