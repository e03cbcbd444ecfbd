//! A control plane or a gateway that was away: what was decided stays, and whoever comes back catches up.

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Fleet};
use rustix::process::Signal;
use serde_json::json;

#[tokio::test]
async fn a_control_plane_comes_back_with_everything_it_has_answered() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = |device: &str| Draft::of(device).raw(&origin.destination());
    let mut fleet = Fleet::with(2, [draft("device-1"), draft("device-2")]).await;
    let mut kept = fleet.device(0, "device-2").tunnel(&origin.destination()).await;
    let receipt = fleet.revoke(json!({"device": "device-1"})).await;
    for crash in [true, false] {
        if crash {
            fleet.crash_control();
        } else {
            fleet.stop_control().await;
        }
        kept.echoes(b"sessions do not need a control plane").await;
        fleet.device(1, "device-2").tunnel(&origin.destination()).await.echoes(b"nor do new ones").await;
        fleet.start_control().await;
        fleet.ready().await;
        assert!(!matches!(fleet.device(0, "device-1").connect(&origin.destination()).await, Ok(Ok(_))));
        let again = fleet.revoke(json!({"device": "device-1"})).await;
        assert!(again["sequence"].as_u64() >= receipt["sequence"].as_u64());
    }
    let sequence = fleet.push(&draft("device-3")).await;
    assert!(Some(sequence) > receipt["sequence"].as_u64(), "the log goes on where it ended");
    fleet.device(1, "device-3").tunnel(&origin.destination()).await.echoes(b"new").await;
    kept.echoes(b"all along").await;
}

#[tokio::test]
async fn a_gateway_that_was_away_catches_up_with_everything() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = |device: &str| Draft::of(device).raw(&origin.destination());
    let mut fleet = Fleet::with(2, [draft("device-1"), draft("device-2")]).await;
    fleet.gateways[1].crash();
    fleet.revoke(json!({"device": "device-1"})).await;
    let receipt = fleet.revoke(json!({"user": "nobody"})).await;
    fleet.lift(receipt["sequence"].as_u64().expect("a number")).await;
    fleet.push(&draft("device-3")).await;
    fleet.gateways[1].start_again().await;
    fleet.ready().await;
    let sequence = fleet.push(&draft("device-4")).await;
    fleet.enforced(sequence).await;
    assert!(!matches!(fleet.device(1, "device-1").connect(&origin.destination()).await, Ok(Ok(_))));
    for device in ["device-2", "device-3", "device-4"] {
        fleet.device(1, device).tunnel(&origin.destination()).await.echoes(b"caught up").await;
    }
}

#[tokio::test]
async fn a_gateway_starts_without_its_control_plane_from_what_it_has_kept() {
    let origin = Capture::start(Behaviour::Echo).await;
    let draft = |device: &str| Draft::of(device).raw(&origin.destination());
    let mut fleet = Fleet::with(1, [draft("device-1"), draft("device-2")]).await;
    fleet.revoke(json!({"device": "device-1"})).await;
    fleet.crash_control();
    fleet.gateways[0].crash();
    fleet.gateways[0].start_again().await;
    assert!(!matches!(fleet.device(0, "device-1").connect(&origin.destination()).await, Ok(Ok(_))));
    fleet.device(0, "device-2").tunnel(&origin.destination()).await.echoes(b"kept").await;
    fleet.start_control().await;
    fleet.ready().await;
    fleet.push(&draft("device-3")).await;
    fleet.device(0, "device-3").tunnel(&origin.destination()).await.echoes(b"and followed").await;
}

#[tokio::test]
async fn a_feed_that_falls_silent_stops_new_sessions_first_and_ends_live_ones_later() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut fleet = Fleet::builder()
        .gateways(2)
        .member(|settings| {
            settings.set("policy.max_staleness", "3s");
            settings.set("policy.cut_after", "7s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    for away in ["stopped", "killed"] {
        let mut tunnels = Vec::new();
        for gateway in 0..2 {
            let mut tunnel = fleet.device(gateway, "device-1").tunnel(&origin.destination()).await;
            tunnel.echoes(b"fresh").await;
            tunnels.push(tunnel);
        }
        // A process that stands still keeps its connections open: only the silence tells.
        if away == "stopped" {
            fleet.control().signal(Signal::STOP);
        } else {
            fleet.crash_control();
        }
        for (gateway, tunnel) in tunnels.iter_mut().enumerate() {
            let device = fleet.device(gateway, "device-1");
            eventually(PATIENCE, "new sessions are refused", async || {
                let refused = device.connect(&origin.destination()).await.ok()?.err()?;
                (refused.reason() == "policy_stale").then_some(())
            })
            .await;
            tunnel.echoes(b"stale, but not cut").await;
        }
        for tunnel in &mut tunnels {
            assert_eq!(tunnel.rest().await.1, End::Broken, "{away}: cut in the end");
        }
        for site in &fleet.gateways {
            site.ending("policy_stale").await;
        }
        if away == "stopped" {
            fleet.control().signal(Signal::CONT);
        } else {
            fleet.start_control().await;
        }
        fleet.ready().await;
        for gateway in 0..2 {
            fleet
                .device(gateway, "device-1")
                .tunnel(&origin.destination())
                .await
                .echoes(b"fresh again")
                .await;
        }
    }
}
