//! Many gateways at one NATS server, each with a connection and a key of its own.
//!
//! `PORTCULLIS_GATEWAYS` and `PORTCULLIS_ROUNDS` say how many; with a release build and a thousand gateways it prints the
//! figures of SPECIFICATION.md.

use std::sync::Arc;

use lab::Fleet;
use lab::dice::number;
use lab::fleet::simulated::fan_out;
use lab::nats::Nats;
use policy_sync::transport::Link;
use policy_sync::transport::nats::{NatsLink, NatsLinkOptions};
use policy_sync::{KeyRing, SigningKey};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_many_gateways_hears_of_a_revocation_soon() {
    let Some(nats) = Nats::start().await else { return };
    let gateways = number("PORTCULLIS_GATEWAYS", 50);
    let builder = Fleet::builder().over(vec![nats.options()], vec![nats.options()]);
    let mut fleet = builder.gateways(0).enrolled(gateways).start().await;
    let ring = std::fs::read_to_string(fleet.dir().join("keys.toml")).expect("the ring");
    let ring = Arc::new(KeyRing::parse("keys.toml", &ring).expect("the ring holds"));
    let reports = std::mem::take(&mut fleet.reports);
    let links = reports.into_iter().map(|report| link(&nats, report, &ring)).collect();
    let before = (nats.process().resident(), nats.process().cpu());
    fan_out(&fleet, links, number("PORTCULLIS_ROUNDS", 10)).await;
    println!(
        "NATS server: {} KiB a gateway, {:?} of processor time in all",
        nats.process().resident().saturating_sub(before.0) / 1024 / gateways.max(1) as u64,
        nats.process().cpu() - before.1
    );
}

/// A gateway's end.
fn link(nats: &Nats, report: SigningKey, ring: &Arc<KeyRing>) -> Arc<dyn Link> {
    let ring = Arc::clone(ring);
    let options = NatsLinkOptions { nats: nats.options(), report };
    NatsLink::new(options, Arc::new(move || Arc::clone(&ring))).expect("a name that NATS can carry")
}
