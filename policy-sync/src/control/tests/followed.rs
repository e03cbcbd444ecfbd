//! Gateways that follow a control plane with the source they really use.

use super::*;
use crate::change::Change;
use crate::feed::{Enforcer, Feed, Receipt};
use crate::snapshot::Snapshot;
use crate::source::follow::{FollowOptions, FollowSource};

/// Cuts one session whenever something is revoked.
struct OneSession;

impl Enforcer for OneSession {
    fn enforce(&self, _: &Arc<Snapshot>, _: &Change) -> Receipt {
        Receipt { sessions_cut: 1, upload_bytes: 512, latency: Duration::ZERO }
    }
}

struct Gateway {
    feed: Arc<Feed>,
    source: Option<FollowSource>,
    state: Arc<tempfile::TempDir>,
}

impl Gateway {
    fn start(site: &Site, name: &str, state: Arc<tempfile::TempDir>) -> Self {
        let registry = Registry::new();
        let recorder =
            Recorder::open(RecorderOptions::new(name, Sink::Memory(Events::default())), &registry).unwrap();
        let feed = Arc::new(Feed::new(PolicyBounds::default()));
        feed.subscribe(Arc::new(OneSession));
        let options =
            FollowOptions::new(state.path(), site.ring.clone(), PolicyBounds::default(), site.log.link(name));
        let source = FollowSource::start(options, feed.clone(), recorder, &registry, Box::new(|_| {}));
        Self { feed, source: Some(source.unwrap()), state }
    }

    fn new(site: &Site, name: &str) -> Self {
        Self::start(site, name, Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Ends it as a crash would leave it, and hands out what it kept.
    fn stop(mut self) -> Arc<tempfile::TempDir> {
        tokio::task::block_in_place(|| drop(self.source.take()));
        self.state.clone()
    }

    fn holds(&self) -> (usize, usize) {
        let snapshot = self.feed.current();
        (snapshot.manifest_count(), snapshot.revocations().len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_answered_with_the_receipts_of_every_gateway() {
    let site = Site::new();
    let plane = site.plane().await;
    site.log.serve(plane.clone());
    let gateways = ["gw-1", "gw-2", "gw-3"].map(|name| Gateway::new(&site, name));
    until(|| plane.gateways().iter().filter(|gateway| gateway.connected).count() == 3).await;
    let revoked = plane.revoke(order(device("device-1"))).await.unwrap();
    let applied: Vec<_> = revoked.applied.iter().map(|applied| applied.gateway.as_str()).collect();
    assert_eq!((applied, revoked.pending.len()), (vec!["gw-1", "gw-2", "gw-3"], 0));
    assert!(revoked.applied.iter().all(|applied| (applied.sessions_cut, applied.upload_bytes) == (1, 512)));
    assert!(gateways.iter().all(|gateway| gateway.holds() == (0, 1)));
    until(|| plane.gateways().iter().all(|gateway| gateway.sequence == 1)).await;
    gateways.into_iter().for_each(|gateway| drop(gateway.stop()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_comes_to_what_the_log_comes_to_by_records_and_by_snapshot() {
    let site = Site::new();
    let plane = site.plane().await;
    site.log.serve(plane.clone());
    let gateway = Gateway::new(&site, "gw-1");
    let by = "alice";
    let (first, second) = (site.manifest("cm-1", "a", 100), site.manifest("cm-2", "b", 100));
    plane.submit(first, by).await.unwrap();
    until(|| gateway.holds() == (1, 0)).await;
    let state = gateway.stop();

    // A few records.
    plane.submit(second, by).await.unwrap();
    let order = |name: &str| RevokeOrder { wait: Duration::ZERO, ..order(device(name)) };
    let lifted = plane.revoke(order("device-1")).await.unwrap();
    let gateway = Gateway::start(&site, "gw-1", state);
    assert_eq!(gateway.holds(), (1, 0), "what it kept");
    until(|| gateway.holds() == (2, 1)).await;
    let state = gateway.stop();

    // A snapshot: one manifest withdrawn, one revocation lifted, another made.
    let digest = plane.with_state(|state| state.policy().manifest(&"cm-1".parse().unwrap()).unwrap().digest);
    plane.submit(Entry::Withdrawal { id: "cm-1".parse().unwrap(), digest }, by).await.unwrap();
    plane.lift(lifted.sequence, None, "found", by).await.unwrap();
    plane.revoke(order("device-2")).await.unwrap();
    plane.take_snapshot().await.unwrap();
    let gateway = Gateway::start(&site, "gw-1", state);
    until(|| {
        let snapshot = gateway.feed.current();
        gateway.holds() == (1, 1) && snapshot.revocations().contains(&device("device-2"))
    })
    .await;
    // Somebody new, and the same.
    let fresh = Gateway::new(&site, "gw-2");
    until(|| fresh.holds() == (1, 1) && fresh.feed.age().is_some()).await;
    let position = plane.with_state(super::super::State::position);
    until(|| plane.gateways().iter().all(|gateway| gateway.sequence == position.sequence)).await;
    fresh.stop();
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_enter_a_new_epoch_after_a_restore_and_forget_no_revocation() {
    let site = Site::new();
    let plane = site.plane().await;
    site.log.serve(plane.clone());
    let gateway = Gateway::new(&site, "gw-1");
    plane.submit(site.manifest("cm-1", "a", 100), "alice").await.unwrap();
    plane.revoke(order(device("device-1"))).await.unwrap();
    until(|| gateway.holds() == (1, 1)).await;
    let before = plane.with_state(super::super::State::position);
    drop(plane);
    let anew = Plane::open(PlaneOptions { new_epoch: true, ..site.options() }).await.unwrap();
    until(|| gateway.feed.age().is_some_and(|age| age < Duration::from_secs(5))).await;
    anew.revoke(RevokeOrder { wait: Duration::ZERO, ..order(device("device-2")) }).await.unwrap();
    until(|| gateway.holds() == (1, 2)).await;
    let after = anew.with_state(super::super::State::position);
    assert!(after.epoch > before.epoch);
    gateway.stop();
}
