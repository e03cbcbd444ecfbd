//! Two control planes over one log, and gateways that both know of.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lab::nats::{Nats, NatsCluster};
use lab::wait::PATIENCE;
use lab::{eventually, promptly, within};
use policy_sync::log::{Position, Record};
use policy_sync::transport::nats::NatsLink;
use policy_sync::transport::{Enforced, Frame, Link as _, Report};
use policy_sync::{Envelope, Statement, verify_statement};

use super::replica::Files;
use super::setup::Ring;

/// The least that is a gateway: enforces hints, and says so.
fn gateway(link: Arc<NatsLink>, ring: &Arc<Ring>) -> tokio::task::JoinHandle<()> {
    let keys = ring.keys();
    tokio::spawn(async move {
        loop {
            let (enforced, own, keys) = (Arc::new(Mutex::new(HashSet::new())), link.clone(), keys.clone());
            let each = Box::new(move |frame| {
                let report = match frame {
                    Frame::Hint(envelope) => {
                        let envelope = Envelope::read(&envelope).unwrap();
                        let Statement::Revoke(revocation) = verify_statement(&envelope, &keys()).unwrap()
                        else {
                            return;
                        };
                        enforced.lock().unwrap().insert(revocation.id);
                        let receipt = Enforced {
                            revocation: revocation.id,
                            sessions_cut: 1,
                            upload_bytes: 2,
                            latency_us: 3,
                        };
                        Report { enforced: vec![receipt], ..Report::default() }
                    }
                    Frame::Record(_) | Frame::Heartbeat(_) => Report::default(),
                };
                own.report(report);
            });
            link.follow(Report::default(), each).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_revokes_every_gateway_has_enforced_and_the_other_replica_knows() {
    let Some(nats) = Nats::start().await else { return };
    let files = Files::new();
    let names = ["gw-1", "gw-2", "gw.eu-3"];
    let links: Vec<_> = names.iter().map(|name| files.ring.link(nats.options(), name)).collect();
    let one = files.replica("control-a", &nats.options()).await;
    let two = files.replica("control-b", &nats.options()).await;
    let running: Vec<_> = links.into_iter().map(|link| gateway(link, &files.ring)).collect();
    for name in names {
        one.knows(name, true).await;
        two.knows(name, true).await;
    }

    let mut spans = Vec::new();
    for number in 0..50 {
        let device = format!("device-{number}");
        let (revoking, other) = if number % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let begun = Instant::now();
        let revoked = revoking.revoke(&device, PATIENCE).await;
        spans.push(begun.elapsed());
        let applied: Vec<&str> = revoked.applied.iter().map(|applied| applied.gateway.as_str()).collect();
        assert_eq!(applied, names, "pending: {:?}", revoked.pending);
        assert_eq!(revoked.sequence, number + 1);
        eventually(PATIENCE, "the other replica knows", async || other.has_revoked(&device).then_some(()))
            .await;
        // The same again is the same, wherever it is asked.
        let again = other.revoke(&device, PATIENCE).await;
        assert!(again.repeated);
        assert_eq!((again.revocation, again.sequence), (revoked.revocation, revoked.sequence));
    }
    spans.sort_unstable();
    println!("a revocation with three gateways over NATS: median {:?}, p99 {:?}", spans[25], spans[49]);

    // One that is gone is pending, and both replicas say so.
    running[1].abort();
    one.knows("gw-2", false).await;
    two.knows("gw-2", false).await;
    let revoked = one.revoke("device-late", Duration::from_millis(500)).await;
    assert_eq!(revoked.applied.len(), 2);
    assert_eq!(revoked.pending, ["gw-2"]);
    running.iter().for_each(tokio::task::JoinHandle::abort);

    // A third replica comes later, and knows it all.
    let three = files.replica("control-c", &nats.options()).await;
    assert!(three.has_revoked("device-0") && three.has_revoked("device-late"));
    assert_eq!(three.plane.gateways().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_revoke_at_once_in_a_cluster_agree() {
    let Some(cluster) = NatsCluster::start().await else { return };
    let files = Files::new();
    let start = async |name| {
        within(Duration::from_secs(60), "the replica starts", files.replica(name, &cluster.options())).await
    };
    let replicas = [Arc::new(start("control-a").await), Arc::new(start("control-b").await)];
    let mut orders = Vec::new();
    for (index, replica) in replicas.iter().enumerate() {
        for task in 0..5 {
            let replica = replica.clone();
            orders.push(tokio::spawn(async move {
                let mut own = Vec::new();
                for number in 0..20 {
                    let device = format!("device-{index}-{task}-{number}");
                    own.push((replica.revoke(&device, Duration::ZERO).await.sequence, device));
                }
                own
            }));
        }
    }
    let mut answered = Vec::new();
    for order in orders {
        answered.extend(within(Duration::from_secs(60), "the orders are answered", order).await.unwrap());
    }
    answered.sort();
    let sequences: Vec<u64> = answered.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (1..=200).collect::<Vec<u64>>());
    for replica in &replicas {
        eventually(PATIENCE, "the replica has followed", async || {
            (replica.plane.changes().borrow().sequence == 200).then_some(())
        })
        .await;
        assert!(answered.iter().all(|(_, device)| replica.has_revoked(device)));
    }
    let ends: Vec<Position> = replicas.iter().map(|replica| *replica.plane.changes().borrow()).collect();
    assert_eq!(ends[0], ends[1]);
    // What a gateway reads is that very chain.
    let link = files.ring.link(cluster.options(), "gw-1");
    let mut at = Position::start_of(ends[0].epoch);
    while at != ends[0] {
        let records = promptly("records are read", link.records(&at, 64)).await.unwrap();
        assert!(!records.is_empty());
        for record in records {
            let record = Record::open(&record, &(files.ring.keys())()).unwrap();
            assert!(record.follows(&at));
            at = record.position;
        }
    }
}
