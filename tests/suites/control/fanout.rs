//! Many gateways at one control plane, over connections of their own.
//!
//! `PORTCULLIS_GATEWAYS` and `PORTCULLIS_ROUNDS` say how many; with a release build and a thousand gateways it prints the
//! figures of SPECIFICATION.md.

use std::sync::Arc;

use arc_swap::ArcSwap;
use lab::Fleet;
use lab::dice::number;
use lab::fleet::simulated::fan_out;
use policy_sync::transport::Link;
use policy_sync::transport::embedded::link::ControlLink;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_many_gateways_hears_of_a_revocation_soon() {
    let fleet = Fleet::builder().gateways(0).start().await;
    let gateways = number("PORTCULLIS_GATEWAYS", 100);
    let links = (0..gateways).map(|number| link(&fleet, &format!("gw-{number}")));
    fan_out(&fleet, links.collect(), number("PORTCULLIS_ROUNDS", 10)).await;
}

/// A gateway's end of a connection, with a certificate of its own.
fn link(fleet: &Fleet, name: &str) -> Arc<dyn Link> {
    let mut tls = fleet.pki.client(&fleet.pki.gateway(name));
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address = fleet.control().addresses.gateways.expect("it listens for gateways");
    let tls = Arc::new(ArcSwap::from_pointee(tls));
    Arc::new(ControlLink::new(&address.ip().to_string(), address.port(), tls).expect("an address"))
}
