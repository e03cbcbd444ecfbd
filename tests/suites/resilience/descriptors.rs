//! Out of file descriptors: accepting waits, what is open goes on, and it recovers by itself.

use std::time::{Duration, Instant};

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Lab};
use policy_sync::Target;

#[tokio::test]
async fn open_sessions_and_revocation_go_on_without_descriptors() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let mut open = lab.device("device-1").tunnel(&origin.destination()).await;
    let mut revoked = lab.device("device-2").tunnel(&origin.destination()).await;
    open.echoes(b"before").await;
    let free = 4;
    lab.gateway().limit_descriptors(u64::try_from(lab.gateway().descriptors()).expect("few") + free);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        if let Ok(tcp) = lab::device::dial(lab.gateway().addresses.device[0]).await {
            crowd.push(tcp);
        }
    }
    eventually(PATIENCE, "the descriptors are used up", async || {
        (lab.gateway().descriptors() as u64 >= free).then_some(())
    })
    .await;
    for _ in 0..50 {
        open.echoes(b"goes on").await;
    }
    let before = lab.gateway().cpu();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        open.echoes(b"goes on").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let busy = lab.gateway().cpu() - before;
    assert!(busy < Duration::from_millis(700), "accepting spins: {busy:?} of processor time in a second");
    lab.policy.revoke(Target::Device("device-2".parse().expect("an id")));
    assert_eq!(revoked.rest().await.1, lab::End::Broken, "revocation needs no new descriptor to cut");
    open.echoes(b"still").await;
    drop(crowd);
    lab.gateway().limit_descriptors(1_024);
    let begun = Instant::now();
    eventually(PATIENCE, "new sessions open again", async || {
        lab.device("device-1").connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
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
