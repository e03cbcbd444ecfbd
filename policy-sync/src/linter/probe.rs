//! Representative destinations: those at which a pattern, or the borders of others inside it, can be told apart.

use std::net::IpAddr;
use std::num::NonZeroU16;

use config::{Destination, Host, HostPattern, Pattern};
use ipnet::IpNet;

/// A label that no manifest names.
const UNNAMED: &str = "portcullis-probe";
/// Ranges with more ports than this are probed at their borders only.
const EVERY_PORT_UP_TO: u32 = 4096;

/// Destinations that the pattern matches: enough to see whether anything more specific leaves room for it.
pub(super) fn of_pattern(pattern: &Pattern) -> Vec<Destination> {
    let (first, last) = pattern.ports.bounds();
    if pattern.ports.width() <= EVERY_PORT_UP_TO {
        destinations(pattern, first..=last)
    } else {
        let middle = first + (last - first) / 2;
        let favourites = [80, 443, 8080, 8443].into_iter().filter(|port| pattern.ports.contains(*port));
        destinations(pattern, [first, middle, last].into_iter().chain(favourites))
    }
}

/// Destinations that the pattern matches, at these ports.
pub(super) fn destinations(pattern: &Pattern, ports: impl IntoIterator<Item = u16>) -> Vec<Destination> {
    let hosts = hosts(&pattern.host);
    let ports = ports.into_iter().filter_map(NonZeroU16::new);
    let at = |port: NonZeroU16| hosts.iter().map(move |host| Destination::new(host.clone(), port));
    ports.flat_map(at).collect()
}

fn hosts(pattern: &HostPattern) -> Vec<Host> {
    let unnamed_below = |name: &str| Host::parse_wire(format!("{UNNAMED}.{name}").as_bytes()).ok();
    match pattern {
        HostPattern::Exact(name) => vec![Host::Name(name.clone())],
        // A name too long to have one below it has no destinations either.
        HostPattern::Suffix(name) => unnamed_below(name.as_str()).into_iter().collect(),
        HostPattern::Network(network) => addresses(network),
        HostPattern::Any => unnamed_below("invalid").into_iter().collect(),
    }
}

/// Both ends and three addresses between them: more specific networks rarely meet all five.
fn addresses(network: &IpNet) -> Vec<Host> {
    let quarter = |numerator: u32| match (network.network(), network.broadcast()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let step = (u32::from(last) - u32::from(first)) / 4;
            IpAddr::V4((u32::from(first) + step * numerator).into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let step = (u128::from(last) - u128::from(first)) / 4;
            IpAddr::V6((u128::from(first) + step * u128::from(numerator)).into())
        }
        (first, _) => first,
    };
    let mut addresses = vec![network.network(), quarter(1), quarter(2), quarter(3), network.broadcast()];
    addresses.dedup();
    addresses.into_iter().map(Host::Ip).collect()
}
