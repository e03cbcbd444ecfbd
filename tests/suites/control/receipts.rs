//! What a revocation is answered with: who has applied it, who has not, how soon; and that an order is carried out once.

use std::time::{Duration, Instant};

use lab::fleet::api::body;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Fleet, Role};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Three gateways, and a manifest for each of these devices.
async fn fleet_for(origin: &Capture, devices: &[&str]) -> Fleet {
    Fleet::with(3, devices.iter().map(|device| Draft::of(device).raw(&origin.destination()))).await
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list").iter();
    let mut names: Vec<_> = list.filter_map(|entry| entry["gateway"].as_str().or(entry.as_str())).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn an_answer_says_what_every_gateway_has_cut() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = fleet_for(&origin, &["device-1", "device-2"]).await;
    let mut tunnels = Vec::new();
    for gateway in 0..3 {
        for _ in 0..=gateway {
            let mut tunnel = fleet.device(gateway, "device-1").tunnel(&origin.destination()).await;
            tunnel.echoes(b"0123456789").await;
            tunnels.push(tunnel);
        }
    }
    let mut bystander = fleet.device(2, "device-2").tunnel(&origin.destination()).await;
    let receipt = fleet.revoke(json!({"device": "device-1"})).await;
    assert_eq!(names(&receipt["applied"]), ["gw-1", "gw-2", "gw-3"]);
    assert_eq!(receipt["pending"], json!([]));
    assert_eq!(receipt["target"], json!({"device": "device-1"}));
    for entry in receipt["applied"].as_array().expect("a list") {
        let gateway = entry["gateway"].as_str().and_then(|name| name.strip_prefix("gw-")).expect("a name");
        let count: u64 = gateway.parse().expect("a number");
        assert_eq!(entry["sessions_cut"], count, "{entry}");
        assert_eq!(entry["upload_bytes"], 10 * count, "{entry}");
        assert!(entry["latency_ms"].as_f64().is_some_and(|ms| (0.0..10_000.0).contains(&ms)), "{entry}");
    }
    for mut tunnel in tunnels {
        assert_eq!(tunnel.rest().await.1, End::Broken);
    }
    bystander.echoes(b"untouched").await;
}

#[tokio::test]
async fn a_gateway_that_stands_still_is_pending_until_it_goes_on() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = fleet_for(&origin, &["device-1"]).await;
    let mut quick = fleet.device(0, "device-1").tunnel(&origin.destination()).await;
    let mut slow = fleet.device(1, "device-1").tunnel(&origin.destination()).await;
    quick.echoes(b"before").await;
    slow.echoes(b"before").await;
    fleet.gateways[1].gateway().signal(Signal::STOP);
    let order = body(&json!({"device": "device-1"}), "it stands still");
    let wait = Duration::from_millis(400);
    let begun = Instant::now();
    let answer = fleet.api(Role::Revoker).order(&order, wait).await.expect("an answer");
    let took = begun.elapsed();
    let receipt = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&receipt["applied"]), ["gw-1", "gw-3"]);
    assert_eq!(receipt["pending"], json!(["gw-2"]));
    assert!(took >= wait && took < PATIENCE, "it waits as long as it was told to: {took:?}");
    assert_eq!(quick.rest().await.1, End::Broken);
    fleet.gateways[1].gateway().signal(Signal::CONT);
    assert_eq!(slow.rest().await.1, End::Broken, "what was on its way takes effect");
    let again = fleet.api(Role::Revoker).order(&order, PATIENCE).await.expect("an answer").json();
    assert_eq!(again["sequence"], receipt["sequence"], "the same order");
    assert_eq!(names(&again["applied"]), ["gw-1", "gw-2", "gw-3"]);
    assert_eq!(again["pending"], json!([]));
}

#[tokio::test]
async fn an_order_is_carried_out_once_however_often_it_comes() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = fleet_for(&origin, &["device-1"]).await;
    let api = fleet.api(Role::Revoker);
    let order = body(&json!({"user": "alice@example.com"}), "asked for many times");
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let (api, order) = (api.clone(), order.clone());
            tokio::spawn(async move { api.order(&order, PATIENCE).await.expect("an answer") })
        })
        .collect();
    let mut sequences = Vec::new();
    for asked in asking {
        let answer = asked.await.expect("no panic");
        assert_eq!(answer.status, 200, "{answer:?}");
        sequences.push(answer.json()["sequence"].as_u64().expect("a number"));
    }
    sequences.dedup();
    assert_eq!(sequences.len(), 1, "one revocation: {sequences:?}");
    let mut without = json!({"user": "alice@example.com", "reason": "asked for many times"});
    let answer = api.order(&without, PATIENCE).await.expect("an answer").json();
    assert_eq!(answer["sequence"], sequences[0], "without an instant it is the one in force");
    without["reason"] = json!("another reason");
    let answer = api.order(&without, PATIENCE).await.expect("an answer").json();
    assert!(answer["sequence"].as_u64() > Some(sequences[0]), "another reason is another revocation");
    for site in &fleet.gateways {
        site.happened("control.revoked", 2).await;
        assert_eq!(site.events().of("control.revoked").len(), 2);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_wait_is_carried_out_all_the_same() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = fleet_for(&origin, &["device-1"]).await;
    let mut tunnel = fleet.device(2, "device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"before").await;
    let receipt = fleet.api(Role::Revoker).revoke(&json!({"all": true}), "at once", Duration::ZERO).await;
    let mut told = [names(&receipt["applied"]), names(&receipt["pending"])].concat();
    told.sort_unstable();
    assert_eq!(told, ["gw-1", "gw-2", "gw-3"], "{receipt}");
    assert_eq!(tunnel.rest().await.1, End::Broken);
}

#[tokio::test]
async fn a_gateway_that_is_known_but_away_is_pending_and_one_that_was_forgotten_is_not() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut fleet = fleet_for(&origin, &["device-1", "device-2", "device-3"]).await;
    fleet.gateways[2].crash();
    fleet.connected(&["gw-1", "gw-2"]).await;
    let api = fleet.api(Role::Revoker);
    let wait = Duration::from_millis(100);
    let receipt = api.revoke(&json!({"device": "device-1"}), "one is away", wait).await;
    assert_eq!(receipt["pending"], json!(["gw-3"]));
    fleet.crash_control();
    fleet.start_control().await;
    fleet.connected(&["gw-1", "gw-2"]).await;
    let receipt = api.revoke(&json!({"device": "device-2"}), "one is still away", wait).await;
    assert_eq!(receipt["pending"], json!(["gw-3"]), "a restart does not forget it");
    let forgotten = fleet.api(Role::Admin).send("DELETE", "/api/v1/gateways/gw-3", b"").await;
    assert!(forgotten.is_ok_and(|answer| answer.status < 300));
    let receipt = api.revoke(&json!({"device": "device-3"}), "nobody is away", PATIENCE).await;
    assert_eq!(receipt["pending"], json!([]));
}

#[tokio::test]
async fn somebody_who_may_not_revoke_changes_nothing() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = fleet_for(&origin, &["device-1"]).await;
    let mut tunnel = fleet.device(0, "device-1").tunnel(&origin.destination()).await;
    let order = body(&json!({"device": "device-1"}), "not mine to revoke");
    for role in [Role::Viewer, Role::Author, Role::Approver, Role::Auditor] {
        let answer = fleet.api(role).order(&order, PATIENCE).await.expect("an answer");
        assert_eq!(answer.status, 403, "{role:?}: {answer:?}");
    }
    let stranger = fleet.api_with(&lab::fleet::api::token("stranger"));
    assert_eq!(stranger.order(&order, PATIENCE).await.expect("an answer").status, 401);
    tunnel.echoes(b"untouched").await;
    for (role, status) in [(Role::Revoker, 403), (Role::Viewer, 403), (Role::Author, 403)] {
        let answer = fleet.api(role).lift(1).await.expect("an answer");
        assert_eq!(answer.status, status, "{role:?} lifts: {answer:?}");
    }
    eventually(PATIENCE, "nothing was revoked", async || {
        fleet.gateways[0].events().of("control.revoked").is_empty().then_some(())
    })
    .await;
}
