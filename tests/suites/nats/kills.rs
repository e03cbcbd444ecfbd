//! Servers, control planes and gateways that are killed at random moments: nothing that was acknowledged is forgotten.
//!
//! `PORTCULLIS_KILLS` says how often; the seed of the dice is printed.

use std::collections::BTreeSet;
use std::time::Duration;

use lab::dice::{Dice, number};
use lab::fleet::api::body;
use lab::nats::NatsCluster;
use lab::wait::eventually;
use lab::{Answer, Behaviour, Capture, Draft, Fleet, Role};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Revocations under way when it happens.
const AT_ONCE: usize = 4;
/// Longer than a cluster needs for a new leader on a busy machine.
const ELECTION: Duration = Duration::from_secs(90);

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Server(usize),
    Plane(usize),
    Gateway(usize),
}

impl Victim {
    fn pick(dice: &mut Dice) -> Self {
        match dice.index(3) {
            0 => Self::Server(dice.index(3)),
            1 => Self::Plane(dice.index(2)),
            _ => Self::Gateway(dice.index(2)),
        }
    }

    fn kill(self, cluster: &mut NatsCluster, fleet: &mut Fleet) {
        match self {
            Self::Server(number) => cluster.servers[number].kill(),
            Self::Plane(number) => fleet.crash_plane(number),
            Self::Gateway(number) => fleet.gateways[number].crash(),
        }
    }

    async fn start(self, cluster: &mut NatsCluster, fleet: &mut Fleet) {
        match self {
            Self::Server(number) => cluster.servers[number].launch().await,
            Self::Plane(number) => fleet.start_plane_within(number, ELECTION).await,
            Self::Gateway(number) => fleet.gateways[number].start_unready().await,
        }
    }
}

/// Orders the revocation of `AT_ONCE` devices from number `first` on, each at one of the control planes.
fn order(fleet: &Fleet, first: usize, dice: &mut Dice) -> Vec<JoinHandle<std::io::Result<Answer>>> {
    let ordered = (first..first + AT_ONCE).map(|number| {
        let api = fleet.api_of(dice.index(2), Role::Revoker);
        let order = body(&json!({"device": format!("d-{number}")}), "a kill comes");
        let delay = Duration::from_micros(dice.below(8_000));
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            api.order(&order, Duration::from_millis(150)).await
        })
    });
    ordered.collect()
}

/// The numbers of the devices that this control plane lists as revoked.
async fn revoked(fleet: &Fleet, plane: usize) -> Option<BTreeSet<usize>> {
    let (api, mut all, mut after) = (fleet.api_of(plane, Role::Viewer), BTreeSet::new(), 0);
    let number = |one: &Value| one["target"]["device"].as_str()?.strip_prefix("d-")?.parse::<usize>().ok();
    loop {
        let path = format!("/api/v1/revocations?limit=1000&after={after}");
        let said = api.get(&path).await.ok()?.json();
        all.extend(said["revocations"].as_array()?.iter().filter_map(number));
        match said["next"].as_u64() {
            Some(next) => after = next,
            None => return Some(all),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_forgotten_whoever_of_a_fleet_is_killed() {
    let Some(mut cluster) = NatsCluster::start().await else { return };
    let rounds = number("PORTCULLIS_KILLS", 6);
    let mut dice = Dice::throw_anew("kills of servers, control planes and gateways");
    let origin = Capture::start(Behaviour::Echo).await;
    let spared = rounds * AT_ONCE;
    let drafts = (0..=spared).map(|number| Draft::of(&format!("d-{number}")).raw(&origin.destination()));
    let builder = Fleet::builder().over(vec![cluster.options(); 2], vec![cluster.options()]).gateways(2);
    let mut fleet = drafts.fold(builder, lab::fleet::FleetBuilder::manifest).start().await;
    let (mut acknowledged, mut killed) = (BTreeSet::new(), [0_usize; 3]);
    for round in 0..rounds {
        let (first, victim) = (round * AT_ONCE, Victim::pick(&mut dice));
        killed[match victim {
            Victim::Server(_) => 0,
            Victim::Plane(_) => 1,
            Victim::Gateway(_) => 2,
        }] += 1;
        let ordered = order(&fleet, first, &mut dice);
        tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
        victim.kill(&mut cluster, &mut fleet);
        for (number, ordered) in (first..).zip(ordered) {
            // No answer, or 503: nobody was told that it holds.
            if ordered.await.expect("no panic").is_ok_and(|answer| answer.status == 200) {
                acknowledged.insert(number);
            }
        }
        victim.start(&mut cluster, &mut fleet).await;
        for plane in 0..2 {
            eventually(
                ELECTION,
                &format!("round {round}, {victim:?}: control plane {plane} knows all"),
                async || acknowledged.is_subset(&revoked(&fleet, plane).await?).then_some(()),
            )
            .await;
        }
    }
    lab::within(2 * ELECTION, "the fleet is well", fleet.ready()).await;
    let kept = revoked(&fleet, 0).await.expect("a list");
    for gateway in 0..2 {
        for number in &kept {
            let device = fleet.device(gateway, &format!("d-{number}"));
            eventually(ELECTION, "the gateway enforces what the log has", async || {
                let open = matches!(device.connect(&origin.destination()).await, Ok(Ok(_)));
                (!open).then_some(())
            })
            .await;
        }
        fleet
            .device(gateway, &format!("d-{spared}"))
            .tunnel(&origin.destination())
            .await
            .echoes(b"spared")
            .await;
    }
    println!(
        "{rounds} kills ({} of servers, {} of control planes, {} of gateways): {} of {spared} revocations acknowledged, all kept",
        killed[0],
        killed[1],
        killed[2],
        acknowledged.len()
    );
    assert!(acknowledged.len() >= rounds, "the kills came too early to say anything");
}
