//! A network that falls apart: the side with the majority goes on, the other side closes, and nobody has to mend it by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::fleet::api::body;
use lab::nats::{Islands, NatsCluster};
use lab::wait::eventually;
use lab::{Behaviour, Capture, Draft, End, Fleet, Role};
use policy_sync::transport::nats::NatsOptions;
use policy_sync::transport::{Frame, Link as _, Report};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::watch;

use super::replica::Files;

/// Longer than the servers need for a new leader, and gateways to grow stale.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_majority_goes_on_and_the_minority_closes_until_they_meet_again() {
    let Some(islands) = Islands::start().await else { return };
    let origin = Capture::start(Behaviour::Echo).await;
    let (most, alone) = (islands.way(&[0, 1]), islands.way(&[2]));
    let fleet = Fleet::builder()
        .over(vec![most.clone(), alone.clone()], vec![most, alone])
        .gateways(2)
        .member(|settings| {
            settings.set("policy.max_staleness", "15s").set("policy.cut_after", "30s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let open = async |gateway: usize, device: &str| {
        fleet.device(gateway, device).tunnel(&origin.destination()).await
    };
    let (mut near, mut far) = (open(0, "device-1").await, open(1, "device-1").await);
    near.echoes(b"before").await;
    far.echoes(b"before").await;

    islands.cut_off(2, true);
    let order = body(&json!({"device": "device-1"}), "the network is in two");
    let receipt = eventually(LONG, "the majority revokes", async || {
        let answer = fleet.api_of(0, Role::Revoker).order(&order, Duration::from_secs(1)).await.ok()?;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!(receipt["applied"][0]["gateway"], "gw-1", "{receipt}");
    assert_eq!(receipt["pending"], json!(["gw-2"]), "{receipt}");
    assert_eq!(near.rest().await.1, End::Broken);
    // The side that cannot know what the other one has decided takes nothing down, and stops.
    let other = body(&json!({"device": "device-9"}), "on the wrong side");
    let alone = fleet.api_of(1, Role::Revoker).order(&other, Duration::from_millis(100)).await;
    assert!(alone.is_ok_and(|answer| answer.status == 503), "nobody writes without a majority");
    eventually(LONG, "the minority opens no sessions", async || {
        let refused = fleet.device(1, "device-2").connect(&origin.destination()).await.ok()?.err()?;
        (refused.reason() == "policy_stale").then_some(())
    })
    .await;
    assert_eq!(lab::within(LONG, "the minority cuts what is open", far.rest()).await.1, End::Broken);
    open(0, "device-2").await.echoes(b"the majority is as fresh as ever").await;

    islands.cut_off(2, false);
    eventually(LONG, "the minority opens sessions again", async || {
        fleet.device(1, "device-2").connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
    let revoked = fleet.device(1, "device-1").connect(&origin.destination()).await;
    assert!(!matches!(revoked, Ok(Ok(_))), "what the majority revoked holds everywhere");
    eventually(LONG, "both gateways have followed", async || {
        let listed = fleet.listed().await;
        let sequence = receipt["sequence"].as_u64();
        (listed.len() == 2 && listed.iter().all(|gateway| gateway["sequence"].as_u64() >= sequence))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_cannot_learn_how_far_the_log_reaches_keeps_nobody_fresh() {
    let Some(cluster) = NatsCluster::start().await else { return };
    let (files, only) = (Files::new(), &cluster.servers[2]);
    let way = NatsOptions { servers: vec![only.url()], monitoring: Vec::new(), ..cluster.options() };
    let _plane = files.replica("control-a", &way).await;
    let link = files.ring.link(way, "gw-1");
    let beat = Arc::new(watch::Sender::new(None));
    let following = tokio::spawn({
        let beat = Arc::clone(&beat);
        async move {
            loop {
                let beat = Arc::clone(&beat);
                let each = Box::new(move |frame| {
                    if matches!(frame, Frame::Heartbeat(_)) {
                        beat.send_replace(Some(Instant::now()));
                    }
                });
                link.follow(Report::default(), each).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let silent = || beat.borrow().map(|at: Instant| at.elapsed());
    let beating = async || silent().filter(|silent| *silent < Duration::from_secs(2)).map(drop);
    eventually(LONG, "it beats", beating).await;
    let others = &cluster.servers[..2];
    others.iter().for_each(|server| server.signal(Signal::STOP));
    eventually(LONG, "its heart stands still", async || {
        silent().filter(|silent| *silent > Duration::from_secs(4)).map(drop)
    })
    .await;
    others.iter().for_each(|server| server.signal(Signal::CONT));
    eventually(LONG, "it beats again", beating).await;
    following.abort();
}
