//! What does a decision cost while the policy is being replaced? With nobody publishing, and with a thread that publishes as
//! fast as it can. A reader that had to wait for a publisher would show here.
//!
//! `cargo bench -p portcullis-policy-sync` prints times; 10,000 manifests are live.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::{Destination, DeviceId, ManifestDraft, Source};
use divan::{Bencher, counter::ItemsCount};
use policy_sync::{Asking, Feed, LiveManifest, PolicyBounds, Snapshot};

const MANIFESTS: usize = 10_000;
const NOW: i64 = 1_900_000_000;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 1000)]
fn a_decision_in_quiet(bencher: Bencher<'_, '_>) {
    decisions(bencher, &feed());
}

#[divan::bench(sample_size = 1000)]
fn a_decision_while_the_policy_is_replaced_all_the_time(bencher: Bencher<'_, '_>) {
    let (feed, done) = (feed(), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                publish(&feed);
            }
        });
        decisions(bencher, &feed);
        done.store(true, Ordering::Relaxed);
    });
}

#[divan::bench]
fn a_replacement(bencher: Bencher<'_, '_>) {
    let feed = feed();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| publish(&feed));
}

/// Reads the policy and decides by it, as a session does that opens.
fn decisions(bencher: Bencher<'_, '_>, feed: &Feed) {
    let devices: Vec<_> = (0..MANIFESTS).map(device).collect();
    let destination: Destination = "service-7.example.com:443".parse().expect("a destination");
    let mut next = devices.iter().cycle();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let asking = Asking {
            device: next.next().expect("the cycle never ends"),
            certificate_agent: None,
            requested_agent: None,
            certificates: &[],
            destination: &destination,
            now: NOW,
        };
        let granted = feed.current().decide(black_box(&asking)).is_ok();
        assert!(granted, "every device is allowed this");
        granted
    });
}

/// The policy as it is, under the next revision: as much as the change of one manifest costs, and a little less.
fn publish(feed: &Feed) {
    let mut next = Snapshot::clone(&feed.current());
    next.revision += 1;
    feed.publish(Arc::new(next)).expect("the only publisher");
}

fn feed() -> Feed {
    let feed = Feed::new(PolicyBounds::default());
    let one = manifest();
    let live = (0..MANIFESTS).map(|number| {
        let mut live = one.clone();
        live.manifest.device = device(number);
        live.manifest.id = format!("cm-{number}").parse().expect("an identifier");
        live
    });
    let snapshot = Snapshot::build(1, PolicyBounds::default(), live, []);
    feed.publish(Arc::new(snapshot)).expect("the first");
    feed
}

fn device(number: usize) -> DeviceId {
    format!("device-{number}").parse().expect("an identifier")
}

fn manifest() -> LiveManifest {
    let allow: Vec<_> = (0..10).map(|number| format!(r#""service-{number}.example.com""#)).collect();
    let text = format!(
        r#"{{"agent":"agent-1","identity":{{"user":"alice","device":"device-0"}},"ttl_seconds":86400,
        "capabilities":{{"network":{{"allow":[{}]}}}}}}"#,
        allow.join(",")
    );
    let draft = ManifestDraft::read(&Source::new("manifest.json", text)).expect("a manifest");
    let manifest = draft.identified("cm-0".parse().expect("an identifier"));
    LiveManifest::new(manifest, NOW - 60, [0; 32], Vec::new(), Duration::from_secs(86_400))
}
