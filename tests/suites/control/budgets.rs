//! One budget for the whole fleet: spent exactly once, however many gateways spend it, and refilled by nobody's death.

use std::time::Duration;

use lab::dice::Dice;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Fleet};

const GATEWAYS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_together_deliver_exactly_the_budget_of_a_manifest() {
    const LIMIT: u64 = 3_000_000;
    let origin = Capture::start(Behaviour::Sink).await;
    let fleet = Fleet::with(GATEWAYS, [Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)]).await;
    let mut pouring = Vec::new();
    for gateway in (0..GATEWAYS).cycle().take(2 * GATEWAYS) {
        let mut tunnel = fleet.device(gateway, "device-1").tunnel(&origin.destination()).await;
        pouring.push(tokio::spawn(async move {
            tunnel.pour(LIMIT, 10_000).await;
            tunnel.rest().await;
        }));
    }
    for one in pouring {
        lab::promptly("every upload ends at the budget", one).await.expect("no panic");
    }
    // What one gateway still holds another cannot spend; the last bytes are had by asking everywhere.
    drain(&fleet, &origin, LIMIT).await;
    assert_eq!(origin.total(), LIMIT);
    for gateway in 0..GATEWAYS {
        let refused = fleet.device(gateway, "device-1").refusal(&origin.destination()).await;
        assert_eq!(refused.reason(), "upload_budget_spent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_do_not_share_count_each_for_itself() {
    const LIMIT: u64 = 300_000;
    let origin = Capture::start(Behaviour::Sink).await;
    let draft = Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT);
    let fleet = Fleet::builder()
        .gateways(2)
        .member(|settings| {
            settings.set("budget.fleet", false);
        })
        .manifest(draft)
        .start()
        .await;
    for gateway in 0..2 {
        let mut tunnel = fleet.device(gateway, "device-1").tunnel(&origin.destination()).await;
        tunnel.pour(2 * LIMIT, 10_000).await;
        tunnel.rest().await;
    }
    eventually(PATIENCE, "all of it has arrived", async || {
        origin.connections().iter().all(|connection| connection.end().is_some()).then_some(())
    })
    .await;
    assert_eq!(origin.total(), 2 * LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gateway_grants_a_budget_whole_where_the_settings_say_so() {
    const LIMIT: u64 = 100_000;
    let origin = Capture::start(Behaviour::Sink).await;
    let draft = Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT);
    let builder = Fleet::builder().gateways(2).manifest(draft);
    let alone = builder.member(|settings| {
        settings.set("budget.fleet", false);
    });
    let fleet = alone.start().await;
    for gateway in 0..2 {
        let mut tunnel = fleet.device(gateway, "device-1").tunnel(&origin.destination()).await;
        tunnel.pour(2 * LIMIT, 10_000).await;
        tunnel.rest().await;
        eventually(PATIENCE, "the budget of this gateway has arrived", async || {
            (origin.total() == (gateway as u64 + 1) * LIMIT).then_some(())
        })
        .await;
    }
}

/// Uploads through one gateway after the other until none lets anything through any more.
async fn drain(fleet: &Fleet, origin: &Capture, limit: u64) {
    for gateway in (0..GATEWAYS).cycle().take(3 * GATEWAYS) {
        if let Ok(Ok(mut tunnel)) = fleet.device(gateway, "device-1").connect(&origin.destination()).await {
            tunnel.pour(limit, 10_000).await;
            tunnel.rest().await;
        }
    }
    eventually(PATIENCE, "all of it has arrived", async || {
        origin.connections().iter().all(|connection| connection.end().is_some()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_refills_the_budget_of_a_fleet() {
    const ROUNDS: usize = 30;
    const LIMIT: u64 = 60_000_000;
    let mut dice = Dice::throw_anew("kills while a shared budget is spent");
    let origin = Capture::start(Behaviour::Sink).await;
    let mut fleet =
        Fleet::with(GATEWAYS, [Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)]).await;
    for _ in 0..ROUNDS {
        let mut pouring = Vec::new();
        for gateway in 0..GATEWAYS {
            let device = fleet.device(gateway, "device-1");
            let destination = origin.destination();
            pouring.push(tokio::spawn(async move {
                if let Ok(Ok(mut tunnel)) = device.connect(&destination).await {
                    tunnel.pour(400_000, 4_000).await;
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
        match dice.index(GATEWAYS + 1) {
            GATEWAYS => {
                fleet.crash_control();
                fleet.start_control().await;
            }
            victim => {
                fleet.gateways[victim].crash();
                fleet.gateways[victim].start_again().await;
            }
        }
        fleet.ready().await;
        for one in pouring {
            one.abort();
        }
    }
    let before = origin.total();
    drain(&fleet, &origin, LIMIT).await;
    let spent = origin.total();
    assert!(spent <= LIMIT, "{spent} of {LIMIT}");
    println!("{ROUNDS} kills: {before} bytes before the last uploads, {spent} of {LIMIT} in the end");
    fleet.crash_control();
    for site in &mut fleet.gateways {
        site.crash();
    }
    fleet.start_control().await;
    for site in &mut fleet.gateways {
        site.start_again().await;
    }
    fleet.ready().await;
    drain(&fleet, &origin, LIMIT).await;
    assert_eq!(origin.total(), spent, "what is spent stays spent");
}
