//! The screen, from a table, from every edge of every registry entry, and against this machine's own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::special::{self, Class};
use super::{Prohibition, Screen, ScreenRules};

fn closed() -> Screen {
    Screen::new(ScreenRules::default()).unwrap()
}

fn with_internal(networks: &[&str]) -> Screen {
    let internal = networks.iter().map(|network| network.parse().unwrap()).collect();
    Screen::new(ScreenRules { internal, ..ScreenRules::default() }).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn verdict(screen: &Screen, address: IpAddr, port: u16) -> Option<Prohibition> {
    screen.admit(SocketAddr::new(address, port)).err().map(|refusal| refusal.why)
}

fn is_prohibited(screen: &Screen, address: IpAddr) -> bool {
    verdict(screen, address, 443).is_some()
}

#[test]
fn ordinary_addresses_pass() {
    for text in
        ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::200e", "2001:200::1"]
    {
        let admitted = closed().admit(SocketAddr::new(ip(text), 443)).unwrap();
        assert_eq!(admitted.socket_addr(), SocketAddr::new(ip(text), 443));
        assert!(!admitted.is_own());
    }
}

#[test]
fn special_purpose_addresses_do_not_pass() {
    let cases = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.0.170",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.1.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "100::1",
        "100:0:0:1::1",
        "2001:db8::1",
        "2001::1",
        "2001:1::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff::1",
        "2002::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "1::1",
        "e000::1",
        "2a00:1450::5efe:808:808",
        "2a00:1450::200:5efe:808:808",
    ];
    for text in cases {
        assert!(is_prohibited(&closed(), ip(text)), "{text} passed");
    }
}

#[test]
fn metadata_services_do_not_pass_even_when_their_network_is_opened() {
    let open = with_internal(&["0.0.0.0/0", "::/0"]);
    for address in special::metadata() {
        assert_eq!(verdict(&open, address, 80), Some(Prohibition::Metadata), "{address}");
        assert_eq!(verdict(&closed(), address, 80), Some(Prohibition::Metadata), "{address}");
    }
}

#[test]
fn an_override_opens_exactly_the_metadata_address_it_names() {
    let named = ip("169.254.169.254");
    let screen =
        Screen::new(ScreenRules { metadata_override: vec![named], ..ScreenRules::default() }).unwrap();
    for address in special::metadata() {
        let expected = (address != named).then_some(Prohibition::Metadata);
        assert_eq!(verdict(&screen, address, 80), expected, "{address}");
    }
    assert!(is_prohibited(&screen, ip("169.254.169.253")), "its neighbours stay closed");
}

#[test]
fn metadata_names_are_refused_unless_an_address_is_overridden() {
    let opened =
        Screen::new(ScreenRules { metadata_override: vec![ip("169.254.169.254")], ..ScreenRules::default() });
    assert!(closed().prohibits_name("metadata.google.internal"));
    assert!(!closed().prohibits_name("metadata.example.com"));
    assert!(!opened.unwrap().prohibits_name("metadata.google.internal"));
}

#[test]
fn internal_networks_open_private_ranges_and_nothing_beside_them() {
    let screen = with_internal(&["10.20.0.0/16", "fd00:1::/32"]);
    for (text, passes) in [
        ("10.20.0.0", true),
        ("10.20.255.255", true),
        ("10.19.255.255", false),
        ("10.21.0.0", false),
        ("fd00:1::5", true),
        ("fd00:2::5", false),
        ("192.168.0.1", false),
        ("8.8.8.8", true),
    ] {
        assert_eq!(!is_prohibited(&screen, ip(text)), passes, "{text}");
    }
}

#[test]
fn no_network_opens_what_is_no_unicast_destination_or_hides_an_ipv4_address() {
    let open = with_internal(&["0.0.0.0/0", "::/0"]);
    for text in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808::1",
    ] {
        assert!(is_prohibited(&open, ip(text)), "{text} passed");
    }
}

#[test]
fn loopback_is_reached_only_when_an_internal_network_names_it() {
    for address in [ip("127.0.0.1"), ip("127.9.9.9"), ip("::1")] {
        assert_eq!(verdict(&closed(), address, 5432), Some(Prohibition::OwnAddress), "{address}");
        let open = with_internal(&["127.0.0.0/8", "::1/128"]);
        assert_eq!(verdict(&open, address, 5432), None, "{address}");
        assert!(open.admit(SocketAddr::new(address, 5432)).unwrap().is_own());
    }
}

#[test]
fn own_listeners_are_never_reached_by_any_of_the_own_addresses() {
    let listeners = vec!["0.0.0.0:8443".parse().unwrap(), "127.0.0.1:9443".parse().unwrap()];
    let internal = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let screen = Screen::new(ScreenRules { internal, listeners, ..ScreenRules::default() }).unwrap();
    for address in own_addresses() {
        for port in [8443, 9443] {
            assert_eq!(verdict(&screen, address, port), Some(Prohibition::OwnListener), "{address}:{port}");
        }
        assert_eq!(verdict(&screen, address, 9444), None, "{address}:9444");
    }
    assert_eq!(verdict(&screen, ip("8.8.8.8"), 8443), None, "elsewhere the same port is somebody else's");
}

#[test]
fn an_address_a_listener_is_bound_to_is_own_even_if_no_interface_shows_it() {
    let listeners = vec!["[::ffff:9.9.9.9]:8443".parse().unwrap()];
    let screen = Screen::new(ScreenRules { listeners, ..ScreenRules::default() }).unwrap();
    assert_eq!(verdict(&screen, ip("9.9.9.9"), 8443), Some(Prohibition::OwnListener));
    assert_eq!(verdict(&screen, ip("9.9.9.9"), 443), Some(Prohibition::OwnAddress));
}

#[test]
fn interface_addresses_are_own_and_a_second_reading_changes_nothing() {
    let screen = closed();
    assert!(!screen.refresh().unwrap());
    for address in own_addresses().filter(|address| special::class_of(*address) == Class::Ordinary) {
        assert_eq!(verdict(&screen, address, 443), Some(Prohibition::OwnAddress));
    }
}

#[test]
fn every_edge_of_every_registry_entry_is_on_its_right_side() {
    let screen = closed();
    let mut checked = 0;
    for (base, prefix) in special::registry() {
        let [below, first, last, above] = edges(base, prefix);
        for inside in [first, last].into_iter().flatten() {
            checked += 1 + check_spellings(&screen, inside);
            assert!(is_prohibited(&screen, inside), "{inside} of {base}/{prefix} passed");
        }
        for outside in [below, above].into_iter().flatten() {
            checked += 1 + check_spellings(&screen, outside);
            assert_eq!(is_prohibited(&screen, outside), independently_special(outside), "{outside}");
        }
    }
    assert!(checked >= 500, "only {checked} addresses were generated");
}

#[test]
fn random_addresses_are_judged_as_an_independent_reading_of_the_registries_judges_them() {
    let screen = closed();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    for _ in 0..20_000 {
        let v4 = IpAddr::from(Ipv4Addr::from_bits(u32::try_from(next() >> 32).unwrap()));
        let v6 = IpAddr::from(Ipv6Addr::from_bits(u128::from(next()) << 64 | u128::from(next())));
        for address in [v4, v6] {
            assert_eq!(is_prohibited(&screen, address), independently_special(address), "{address}");
        }
    }
}

/// Every IPv6 spelling of an IPv4 address is refused, whatever is inside: mapped, compatible, translated, NAT64, 6to4.
fn check_spellings(screen: &Screen, address: IpAddr) -> usize {
    let IpAddr::V4(v4) = address else { return 0 };
    let [a, b, c, d] = v4.octets();
    let spellings = [
        format!("::ffff:{v4}"),
        format!("::ffff:0:{v4}"),
        format!("64:ff9b::{v4}"),
        format!("64:ff9b:1::{v4}"),
        format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"),
        format!("::{v4}"),
    ];
    for text in &spellings {
        assert!(is_prohibited(screen, ip(text)), "{text} passed");
    }
    spellings.len()
}

/// One below the first, the first, the last, one above the last; `None` where the address space ends.
fn edges(base: IpAddr, prefix: u8) -> [Option<IpAddr>; 4] {
    match base {
        IpAddr::V4(base) => {
            let first = base.to_bits();
            let last = first | u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let make = |bits: u32| IpAddr::from(Ipv4Addr::from_bits(bits));
            [
                first.checked_sub(1).map(make),
                Some(make(first)),
                Some(make(last)),
                last.checked_add(1).map(make),
            ]
        }
        IpAddr::V6(base) => {
            let first = base.to_bits();
            let last = first | u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let make = |bits: u128| IpAddr::from(Ipv6Addr::from_bits(bits));
            [
                first.checked_sub(1).map(make),
                Some(make(first)),
                Some(make(last)),
                last.checked_add(1).map(make),
            ]
        }
    }
}

/// The same registries written down a second time, as text, and read by another crate.
fn independently_special(address: IpAddr) -> bool {
    const LISTED: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
        192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
        198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 168.63.129.16/32 2001::/23 2001:db8::/32 2002::/16
        2620:4f:8000::/48 3fff::/20";
    let listed = LISTED.split_whitespace().any(|text| {
        let network: ipnet::IpNet = text.parse().unwrap();
        network.contains(&address)
    });
    let outside_global_unicast = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => !"2000::/3".parse::<ipnet::Ipv6Net>().unwrap().contains(&v6),
    };
    listed || outside_global_unicast || own_addresses().any(|own| own == address)
}

fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    interfaces.chain([ip("127.0.0.1"), ip("::1")])
}
