//! Out of file descriptors: accepting waits, what is open goes on, and it recovers by itself.

use std::time::{Duration, Instant};

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Lab};
use policy_sync::Target;

#[tokio::test]
async fn a_crowd_under_a_low_limit_costs_neither_sessions_nor_revocation() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .descriptors(200)
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let mut open = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut revoked = lab.device("device-2").tunnel(&origin.destination()).await;
    open.echoes(b"before").await;
    let address = lab.gateway().addresses.device[0];
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(lab::device::dial(address).await);
    }
    for _ in 0..50 {
        open.echoes(b"goes on").await;
    }
    assert_eq!(lab.admin("/livez").await.status, 200, "the admin listener answers");
    lab.policy.revoke(Target::Device("device-2".parse().expect("an id")));
    assert_eq!(
        revoked.rest().await.1,
        lab::End::Broken,
        "the crowd does not stand in the way of a revocation"
    );
    open.echoes(b"still").await;
    drop(crowd);
    eventually(PATIENCE, "new sessions open again", async || {
        lab.device("device-1").connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
}

#[tokio::test]
async fn open_sessions_go_on_without_descriptors_and_it_recovers_by_itself() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let mut open = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut revoked = lab.device("device-2").tunnel(&origin.destination()).await;
    open.echoes(b"before").await;
    lab.gateway().limit_descriptors(u64::try_from(lab.gateway().descriptors()).expect("few") + 4);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(lab::device::dial(lab.gateway().addresses.device[0]).await);
    }
    let before = lab.gateway().cpu();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        open.echoes(b"goes on").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let busy = lab.gateway().cpu() - before;
    assert!(busy < Duration::from_millis(700), "accepting spins: {busy:?} of processor time in a second");
    lab.policy.revoke(Target::Device("device-2".parse().expect("an id")));
    assert_eq!(revoked.rest().await.1, lab::End::Broken, "the policy source has descriptors in reserve");
    drop(crowd);
    lab.gateway().limit_descriptors(1_024);
    let begun = Instant::now();
    eventually(PATIENCE, "new sessions open again", async || {
        lab.device("device-1").connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    open.echoes(b"all along").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_and_the_rest_go_on() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.connections", 8);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(lab.device("device-1").tunnel(&origin.destination()).await);
    }
    let device = lab.device("device-1");
    let outcome =
        tokio::time::timeout(Duration::from_millis(500), device.connect(&origin.destination())).await;
    assert!(!matches!(outcome, Ok(Ok(Ok(_)))), "the ninth gets no tunnel");
    for tunnel in &mut open {
        tunnel.echoes(b"goes on").await;
    }
    open.clear();
    eventually(PATIENCE, "there is room again", async || {
        device.connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
}
