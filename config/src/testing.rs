//! Values for property tests: few hosts and ports, so that patterns and destinations often meet.

use std::num::NonZeroU16;

use proptest::prelude::*;

use crate::destination::Destination;
use crate::host::Host;
use crate::manifest::{AllowEntry, Mode, Network, TlsExpectation};
use crate::pattern::{DefaultPorts, Pattern};
use crate::size::Limit;

const NAMES: &[&str] = &[
    "example.com",
    "a.example.com",
    "b.a.example.com",
    "_s.a.example.com",
    "aa.example.com",
    "xample.com",
    "c.test.example",
    "localhost",
    "xn--bcher-kva.example",
];
const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.7", "[2001:db8::1]", "[2001:db8:1::1]", "[::1]"];
const WILDCARDS: &[&str] = &["*.example.com", "*.a.example.com", "*.b.a.example.com", "*.test.example"];
const NETWORKS: &[&str] = &[
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/31",
    "192.0.2.0/24",
    "[2001:db8::/32]",
    "[2001:db8::/47]",
    "[::/8]",
];
const PORTS: &[&str] = &["443", "80", "440-450", "80-443", "443-806", "8000-8100", "8050-8150", "*"];

pub(crate) fn a_destination() -> impl Strategy<Value = Destination> {
    let hosts: Vec<&str> = [NAMES, ADDRESSES].concat();
    let ports = prop::sample::select(vec![443, 80, 445, 8060, 8120, 1, 65535]);
    (prop::sample::select(hosts), ports).prop_map(|(host, port)| {
        let host = Host::parse_wire(host.as_bytes()).expect("a host");
        Destination::new(host, NonZeroU16::new(port).expect("a port"))
    })
}

/// A pattern that may stand in `allow`.
pub(crate) fn an_allowed_pattern() -> impl Strategy<Value = Pattern> {
    pattern_of([NAMES, ADDRESSES, WILDCARDS, NETWORKS].concat())
}

/// A pattern that may stand in `deny`.
pub(crate) fn a_pattern() -> impl Strategy<Value = Pattern> {
    pattern_of([NAMES, ADDRESSES, WILDCARDS, NETWORKS, &["*"]].concat())
}

fn pattern_of(hosts: Vec<&'static str>) -> impl Strategy<Value = Pattern> {
    (prop::sample::select(hosts), prop::sample::select(PORTS)).prop_map(|(host, ports)| {
        Pattern::parse(&format!("{host}:{ports}"), DefaultPorts::Https).expect("a pattern")
    })
}

pub(crate) fn a_limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        Just(Limit::Unlimited),
        any::<u64>().prop_map(Limit::Bytes),
        (0_u64..100).prop_map(|n| Limit::Bytes(n << 20))
    ]
}

pub(crate) fn an_allow_entry() -> impl Strategy<Value = AllowEntry> {
    let tls = prop::sample::select(vec![TlsExpectation::Sni, TlsExpectation::Optional, TlsExpectation::None]);
    let limit = || prop::option::of(a_limit());
    (an_allowed_pattern(), limit(), limit(), prop::option::of(tls)).prop_map(
        |(pattern, upload_bytes_per_session, upload_bytes, tls)| AllowEntry {
            pattern,
            upload_bytes_per_session,
            upload_bytes,
            tls,
        },
    )
}

pub(crate) fn a_network() -> impl Strategy<Value = Network> {
    let allow = prop::collection::vec(an_allow_entry(), 0..12);
    let deny = prop::collection::vec(a_pattern(), 0..8);
    let limit = || prop::option::of(a_limit());
    let mode = prop::sample::select(vec![Mode::Enforce, Mode::Report]);
    (allow, deny, limit(), limit(), prop::option::of(any::<u32>()), mode).prop_map(
        |(allow, deny, upload_bytes_per_session, upload_bytes, sessions, mode)| Network {
            allow,
            deny,
            upload_bytes_per_session,
            upload_bytes,
            sessions,
            mode,
        },
    )
}
