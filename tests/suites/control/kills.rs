//! Processes that are killed at random moments, again and again: nothing that was acknowledged is forgotten, nothing old
//! comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::dice::Dice;
use lab::fleet::api::body;
use lab::fleet::sequence_of;
use lab::wait::PATIENCE;
use lab::{Answer, Behaviour, Capture, Draft, Fleet, Role};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How often the control plane is killed.
const PLANE_ROUNDS: usize = 80;
/// How often a gateway is killed.
const GATEWAY_ROUNDS: usize = 70;
/// Revocations under way when it happens.
const AT_ONCE: usize = 4;

/// A fleet with the devices `d-0`, `d-1`, …, whose manifests allow the origin.
async fn fleet_for(origin: &Capture, gateways: usize, devices: usize) -> Fleet {
    Fleet::with(
        gateways,
        (0..devices).map(|number| Draft::of(&format!("d-{number}")).raw(&origin.destination())),
    )
    .await
}

/// Orders the revocation of `AT_ONCE` devices from number `first` on, each a little later than now.
fn order(fleet: &Fleet, first: usize, dice: &mut Dice) -> Vec<JoinHandle<std::io::Result<Answer>>> {
    let ordered = (first..first + AT_ONCE).map(|number| {
        let api = fleet.api(Role::Revoker);
        let order = body(&json!({"device": format!("d-{number}")}), "a kill comes");
        let delay = Duration::from_micros(dice.below(4_000));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            api.order(&order, Duration::from_millis(150)).await
        })
    });
    ordered.collect()
}

/// Whether device number `number` gets a tunnel through a gateway.
async fn is_open(fleet: &Fleet, gateway: usize, number: usize, origin: &Capture) -> bool {
    let device = fleet.device(gateway, &format!("d-{number}"));
    matches!(device.connect(&origin.destination()).await, Ok(Ok(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_is_killed_forgets_nothing_that_it_has_acknowledged() {
    let mut dice = Dice::throw_anew("kills of the control plane");
    let origin = Capture::start(Behaviour::Echo).await;
    let spared = PLANE_ROUNDS * AT_ONCE;
    let mut fleet = fleet_for(&origin, 1, spared + 1).await;
    let mut acknowledged: BTreeSet<usize> = BTreeSet::new();
    let mut last = 0;
    for round in 0..PLANE_ROUNDS {
        let first = round * AT_ONCE;
        let ordered = order(&fleet, first, &mut dice);
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        fleet.crash_control();
        for (number, ordered) in (first..).zip(ordered) {
            let Ok(answer) = ordered.await.expect("no panic") else { continue };
            assert_eq!(answer.status, 200, "round {round}: {answer:?}");
            let receipt = answer.json();
            acknowledged.insert(number);
            last = last.max(sequence_of(&receipt));
            if receipt["applied"][0]["gateway"] == "gw-1" {
                // Enforced where it says so, whatever becomes of the one that said it.
                assert!(!is_open(&fleet, 0, number, &origin).await, "round {round}");
            }
        }
        fleet.start_control().await;
        let kept = revoked(&fleet).await;
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(
            lost.is_empty(),
            "round {round}: the revocations of {lost:?} were acknowledged, and are lost"
        );
        if round % 5 == 4 {
            fleet.ready().await;
            fleet.enforced(last).await;
            for number in first + AT_ONCE - 5 * AT_ONCE..first + AT_ONCE {
                let open = is_open(&fleet, 0, number, &origin).await;
                assert!(!open || !kept.contains(&number), "round {round}: d-{number} is back");
            }
        }
    }
    fleet.ready().await;
    let sequence = fleet.push(&Draft::of("d-last").raw(&origin.destination())).await;
    assert!(sequence > last, "the log never goes back");
    assert!(is_open(&fleet, 0, spared, &origin).await, "never revoked");
    println!("{PLANE_ROUNDS} kills, {} of {spared} revocations acknowledged, all kept", acknowledged.len());
    assert!(acknowledged.len() > PLANE_ROUNDS / 2, "the kills came too early to say anything");
}

/// The numbers of the devices that the control plane lists as revoked.
async fn revoked(fleet: &Fleet) -> BTreeSet<usize> {
    let listed = fleet.revocations().await;
    let number = |one: &Value| one["target"]["device"].as_str()?.strip_prefix("d-")?.parse().ok();
    listed.iter().filter_map(number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_enforces_what_it_has_acknowledged_without_asking_anybody() {
    let mut dice = Dice::throw_anew("kills of gateways");
    let origin = Capture::start(Behaviour::Echo).await;
    let spared = GATEWAY_ROUNDS * AT_ONCE;
    let mut fleet = fleet_for(&origin, 2, spared + 1).await;
    let mut applied: [BTreeSet<usize>; 2] = [BTreeSet::new(), BTreeSet::new()];
    let mut served = 0;
    for round in 0..GATEWAY_ROUNDS {
        let (first, victim) = (round * AT_ONCE, dice.index(2));
        let ordered = order(&fleet, first, &mut dice);
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        fleet.gateways[victim].crash();
        for (number, ordered) in (first..).zip(ordered) {
            let answer = ordered.await.expect("no panic").expect("the control plane lives");
            assert_eq!(answer.status, 200, "round {round}: {answer:?}");
            for entry in answer.json()["applied"].as_array().expect("a list") {
                applied[usize::from(entry["gateway"] == "gw-2")].insert(number);
            }
        }
        // Nobody tells it anything while it starts.
        fleet.control().signal(Signal::STOP);
        fleet.gateways[victim].start_unready().await;
        // One that was killed before it was ever fresh serves nobody, which says nothing.
        served += usize::from(is_open(&fleet, victim, spared, &origin).await);
        for number in applied[victim].iter().rev().take(3 * AT_ONCE) {
            let open = is_open(&fleet, victim, *number, &origin).await;
            assert!(!open, "round {round}: d-{number} was applied by it, and is back");
        }
        fleet.control().signal(Signal::CONT);
        fleet.ready().await;
    }
    let sequence = fleet.push(&Draft::of("d-last").raw(&origin.destination())).await;
    fleet.enforced(sequence).await;
    for number in 0..spared {
        for gateway in 0..2 {
            assert!(
                !is_open(&fleet, gateway, number, &origin).await,
                "d-{number} is back at gateway {gateway}"
            );
        }
    }
    let receipts = applied[0].len() + applied[1].len();
    println!(
        "{GATEWAY_ROUNDS} kills, {served} with sessions right after the start; {receipts} receipts, all kept"
    );
    assert!(served > GATEWAY_ROUNDS / 2 && receipts > GATEWAY_ROUNDS, "{served}, {receipts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_brings_an_older_manifest_back() {
    const ROUNDS: usize = 20;
    let mut dice = Dice::throw_anew("kills around narrowing manifests");
    let origins = [Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await];
    let draft = |number: usize| Draft::of("device-1").raw(&origins[number % 2].destination());
    let mut fleet = Fleet::with(1, [draft(0)]).await;
    let mut in_force = 0;
    for round in 1..=ROUNDS {
        let envelope =
            lab::policy::signed_manifest(&draft(round), fleet.keys.issue("cm-device-1"), &fleet.keys.author);
        let api = fleet.api(Role::Author);
        let pushing = tokio::spawn(async move { api.push(&envelope).await });
        tokio::time::sleep(Duration::from_micros(dice.below(9_000))).await;
        let kill_gateway = dice.below(2) == 0;
        if kill_gateway {
            fleet.gateways[0].crash();
        } else {
            fleet.crash_control();
        }
        let acknowledged = pushing.await.expect("no panic").is_ok_and(|answer| answer.status < 300);
        if kill_gateway {
            fleet.gateways[0].start_again().await;
        } else {
            fleet.start_control().await;
        }
        fleet.ready().await;
        // Something newer than all of it, so that everything before is known to be followed.
        let sequence = fleet.submit(&Draft::of(&format!("other-{round}"))).await;
        fleet.enforced(sequence).await;
        let device = fleet.device(0, "device-1");
        let open = |number: usize| {
            let (device, destination) = (device.clone(), origins[number % 2].destination());
            async move { matches!(device.connect(&destination).await, Ok(Ok(_))) }
        };
        let new = open(round).await;
        assert!(new || !acknowledged, "round {round}: the acknowledged manifest is not in force");
        assert_ne!(new, open(round + 1).await, "round {round}: exactly one of the two is in force");
        in_force += usize::from(new);
        if !new {
            fleet.push(&draft(round)).await;
        }
    }
    println!("{ROUNDS} kills; {in_force} manifests were in force behind them");
    assert!(in_force > 0);
    lab::within(PATIENCE, "the fleet is well", fleet.ready()).await;
}
