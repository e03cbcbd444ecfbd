//! Where a name may lead: special-purpose, metadata and own addresses are never dialled, however they are spelled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lab::{Behaviour, Capture, Draft, Lab, Over};

/// First and last address of every range that must not be reached, by default.
const PROHIBITED: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("::", "::"),
    ("::1", "::1"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

/// Every spelling of an address that reaches it, or could: as itself, IPv4-mapped, compatible, NAT64, 6to4, SIIT, ISATAP.
fn spellings(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V4(v4) = address else { return vec![address] };
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    let v6 = |segments: [u16; 8]| IpAddr::V6(Ipv6Addr::from(segments));
    vec![
        address,
        v6([0, 0, 0, 0, 0, 0xffff, high, low]),
        v6([0, 0, 0, 0, 0, 0, high, low]),
        v6([0, 0, 0, 0, 0xffff, 0, high, low]),
        v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
        v6([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
        v6([0x2002, high, low, 0, 0, 0, 0, 0]),
        v6([0xfe80, 0, 0, 0, 0, 0x5efe, high, low]),
        v6([0x2001, 0, 0, 0, 0, 0, high, low]),
    ]
}

#[tokio::test]
async fn no_name_leads_to_a_special_purpose_address_however_it_is_spelled() {
    let edges: Vec<IpAddr> = PROHIBITED
        .iter()
        .flat_map(|(first, last)| [first.parse().expect("an address"), last.parse().expect("an address")])
        .flat_map(spellings)
        .collect();
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("destinations.internal", toml_list(&[]));
            for (number, address) in edges.iter().enumerate() {
                settings.host(&format!("n{number}.example.com"), &[&address.to_string()]);
            }
        })
        .manifest(Draft::of("device-1").raw("*.example.com:443"))
        .start()
        .await;
    let mut connection = lab.device("device-1").http2().await;
    for (number, address) in edges.iter().enumerate() {
        let destination = format!("n{number}.example.com:443");
        let refused = connection.connect(&destination).await.expect("an answer").expect_err("refused");
        assert_eq!(refused.reason(), "address_prohibited", "{address}");
        assert_eq!(
            (refused.status, refused.proxy_error()),
            (403, Some("destination_ip_prohibited")),
            "{address}"
        );
    }
}

#[tokio::test]
async fn no_literal_leads_there_either_even_when_the_manifest_lists_it() {
    let literals = [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::7f00:1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "[fec0::1]",
        "[2001:db8::1]",
        "255.255.255.255",
    ];
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("destinations.internal", toml_list(&[]));
        })
        .manifest(
            ["0.0.0.0/1:443", "128.0.0.0/1:443", "[::/1]:443", "[8000::/1]:443"]
                .iter()
                .fold(Draft::of("device-1"), |draft, network| draft.raw(network)),
        )
        .start()
        .await;
    for literal in literals {
        for over in Over::BOTH {
            let outcome = lab.device("device-1").connect_over(over, &format!("{literal}:443")).await;
            let refused = outcome.expect("an answer").expect_err("refused");
            assert_eq!((refused.status, refused.reason().as_str()), (403, "address_prohibited"), "{literal}");
        }
    }
}

#[tokio::test]
async fn an_address_literal_needs_a_rule_of_its_own() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let refused = lab.device("device-1").refusal(&origin.at("127.0.0.1")).await;
    assert_eq!(refused.reason(), "destination_not_listed", "the name's rule is not the address's");
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn metadata_addresses_stay_out_of_reach_of_internal_networks() {
    let names = [
        ("aws.example.com", "169.254.169.254"),
        ("ecs.example.com", "169.254.170.2"),
        ("eks.example.com", "169.254.170.23"),
        ("aws6.example.com", "fd00:ec2::254"),
        ("azure.example.com", "168.63.129.16"),
        ("alibaba.example.com", "100.100.100.200"),
        ("oracle.example.com", "192.0.0.192"),
        ("gcp6.example.com", "fd20:ce::254"),
        ("mapped.example.com", "::ffff:169.254.169.254"),
    ];
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("destinations.internal", toml_list(&["0.0.0.0/0", "fc00::/7"]));
            for (name, address) in names {
                settings.host(name, &[address]);
            }
        })
        .manifest(Draft::of("device-1").raw("*.example.com:80"))
        .start()
        .await;
    for (name, address) in names {
        let refused = lab.device("device-1").refusal(&format!("{name}:80")).await;
        assert_eq!(refused.reason(), "address_prohibited", "{address}");
    }
}

#[tokio::test]
async fn one_bad_address_among_good_ones_is_never_dialled() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.host("mixed.test", &["169.254.169.254", "127.0.0.1"]);
        })
        .manifest(Draft::of("device-1").raw(&origin.at("mixed.test")))
        .start()
        .await;
    let outcome = lab.device("device-1").connect(&origin.at("mixed.test")).await.expect("an answer");
    match outcome {
        Ok(mut tunnel) => tunnel.echoes(b"the good one").await,
        Err(refused) => assert_eq!(refused.reason(), "address_prohibited"),
    }
    for event in lab.events().0 {
        assert_ne!(event["address"], "169.254.169.254", "{event}");
    }
}

#[tokio::test]
async fn the_gateways_own_listeners_are_never_reachable() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("listen.pac", "127.0.0.1:0");
            settings.set("listen.pac_proxy", "gateway.example.com:8443");
            settings.set("destinations.internal", toml_list(&["127.0.0.0/8", "::1/128"]));
            settings.host("self.test", &["127.0.0.1"]);
            settings.host("self6.test", &["::1"]);
            settings.host("other.test", &["127.9.9.9"]);
        })
        .manifest(
            Draft::of("device-1")
                .raw("self.test:*")
                .raw("self6.test:*")
                .raw("other.test:*")
                .raw("127.0.0.0/8:*"),
        )
        .start()
        .await;
    let addresses = lab.gateway().addresses.clone();
    let ports =
        [addresses.device[0].port(), addresses.admin.port(), addresses.pac.expect("a PAC listener").port()];
    for port in ports {
        for host in ["self.test", "other.test", "self6.test", "127.0.0.1", "127.0.0.2"] {
            let refused = lab.device("device-1").refusal(&format!("{host}:{port}")).await;
            assert_eq!(refused.reason(), "address_prohibited", "{host}:{port}");
            let plain = format!("GET http://{host}:{port}/metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(
                lab.device("device-1").ask(plain).await.expect("an answer").status,
                403,
                "{host}:{port}"
            );
        }
    }
}

#[tokio::test]
async fn loopback_and_internal_networks_are_reached_only_when_the_settings_name_them() {
    let origin = Capture::start(Behaviour::Echo).await;
    for (internal, reached) in [(vec!["127.0.0.1/32"], true), (vec!["127.0.0.2/32"], false), (vec![], false)]
    {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("destinations.internal", toml_list(&internal));
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()))
            .start()
            .await;
        let outcome = lab.device("device-1").connect(&origin.destination()).await.expect("an answer");
        assert_eq!(outcome.is_ok(), reached, "{internal:?}");
    }
    assert_eq!(origin.connections().len(), 1);
}

fn toml_list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

#[test]
fn the_spellings_of_an_address_are_what_they_claim() {
    let spelled = spellings(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert!(spelled.contains(&"::ffff:127.0.0.1".parse().expect("an address")));
    assert!(spelled.contains(&"64:ff9b::7f00:1".parse().expect("an address")));
    assert!(spelled.contains(&"2002:7f00:1::".parse().expect("an address")));
}
