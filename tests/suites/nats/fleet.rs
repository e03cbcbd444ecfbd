//! Whole processes over a cluster: control planes, gateways and servers, as they would run.

use std::time::Duration;

use lab::fleet::api::body;
use lab::nats::{Nats, NatsCluster};
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, End, Fleet, Role};
use serde_json::json;

/// Longer than a cluster needs for a new leader on a busy machine.
const ELECTION: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_two_control_planes_and_three_servers_work_as_one() {
    let Some(mut cluster) = NatsCluster::start().await else { return };
    let origin = Capture::start(Behaviour::Echo).await;
    let drafts = (0..5).map(|number| Draft::of(&format!("d-{number}")).raw(&origin.destination()));
    let builder = Fleet::builder().over(vec![cluster.options(); 2], vec![cluster.options()]).gateways(3);
    let mut fleet = drafts.fold(builder, lab::fleet::FleetBuilder::manifest).start().await;
    for (number, plane) in [(0, 0), (1, 1)] {
        let device = format!("d-{number}");
        let mut tunnels = Vec::new();
        for gateway in 0..3 {
            let mut tunnel = fleet.device(gateway, &device).tunnel(&origin.destination()).await;
            tunnel.echoes(b"before").await;
            tunnels.push(tunnel);
        }
        let api = fleet.api_of(plane, Role::Revoker);
        let receipt = api.revoke(&json!({"device": device}), "either of the two", PATIENCE).await;
        let applied: Vec<_> = receipt["applied"].as_array().expect("a list").iter().collect();
        assert_eq!(applied.len(), 3, "{receipt}");
        assert!(applied.iter().all(|one| one["sessions_cut"] == 1), "{receipt}");
        for mut tunnel in tunnels {
            assert_eq!(tunnel.rest().await.1, End::Broken);
        }
    }

    // One of the control planes dies, and then the server that leads the log.
    fleet.crash_plane(0);
    let order = |device: &str| body(&json!({"device": device}), "one is left");
    let answer = fleet.api_of(1, Role::Revoker).order(&order("d-2"), PATIENCE).await.expect("an answer");
    assert_eq!(answer.json()["applied"].as_array().map(Vec::len), Some(3), "{answer:?}");
    let leader = cluster.leader_of("portcullis-log").await;
    cluster.servers[leader].kill();
    let order = order("d-3");
    eventually(ELECTION, "the rest revokes", async || {
        let answer = fleet.api_of(1, Role::Revoker).order(&order, Duration::from_secs(5)).await.ok()?;
        (answer.status == 200 && answer.json()["applied"].as_array().map(Vec::len) == Some(3)).then_some(())
    })
    .await;
    fleet.start_plane_within(0, ELECTION).await;
    cluster.servers[leader].launch().await;
    fleet.ready().await;
    assert_eq!(fleet.revocations().await.len(), 4, "the one that was away knows all of them");
    for gateway in 0..3 {
        for number in 0..4 {
            let again = fleet.device(gateway, &format!("d-{number}")).connect(&origin.destination()).await;
            assert!(!matches!(again, Ok(Ok(_))), "d-{number} is back at gateway {gateway}");
        }
        fleet.device(gateway, "d-4").tunnel(&origin.destination()).await.echoes(b"untouched").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_over_nats_deliver_exactly_the_budget_of_a_manifest() {
    const LIMIT: u64 = 2_000_000;
    let Some(nats) = Nats::start().await else { return };
    let origin = Capture::start(Behaviour::Sink).await;
    let fleet = Fleet::builder()
        .over(vec![nats.options(); 2], vec![nats.options()])
        .gateways(2)
        .manifest(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT))
        .start()
        .await;
    // All are open before the first one uploads: what is spent lets nobody in.
    let (mut tunnels, mut pouring) = (Vec::new(), Vec::new());
    for gateway in [0, 1, 0, 1] {
        tunnels.push(fleet.device(gateway, "device-1").tunnel(&origin.destination()).await);
    }
    for mut tunnel in tunnels {
        pouring.push(tokio::spawn(async move {
            tunnel.pour(LIMIT, 10_000).await;
            tunnel.rest().await;
        }));
    }
    for one in pouring {
        lab::promptly("every upload ends at the budget", one).await.expect("no panic");
    }
    // What one gateway still holds another cannot spend; the last bytes are had by asking everywhere.
    for gateway in [0, 1, 0, 1] {
        if let Ok(Ok(mut tunnel)) = fleet.device(gateway, "device-1").connect(&origin.destination()).await {
            tunnel.pour(LIMIT, 10_000).await;
            tunnel.rest().await;
        }
    }
    eventually(PATIENCE, "all of it has arrived", async || {
        origin.connections().iter().all(|connection| connection.end().is_some()).then_some(())
    })
    .await;
    assert_eq!(origin.total(), LIMIT);
    for gateway in 0..2 {
        let refused = fleet.device(gateway, "device-1").refusal(&origin.destination()).await;
        assert_eq!(refused.reason(), "upload_budget_spent");
    }
}
