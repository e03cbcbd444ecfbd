//! What a decision and a compiled manifest cost in memory.

use std::hint::black_box;

use allocation_counter::measure;
use config::{AllowEntry, DefaultPorts, DenyList, Destination, Network, Pattern, Rules};

fn network() -> Network {
    let text = |at: usize| match at % 10 {
        0 => format!("*.team{at}.example.com"),
        1 => format!("10.0.{at}.0/24:*"),
        _ => format!("service-{at}.example.com"),
    };
    let entry = |at| AllowEntry {
        pattern: Pattern::parse(&text(at), DefaultPorts::Https).expect("a pattern"),
        upload_bytes_per_session: None,
        upload_bytes: None,
        tls: None,
    };
    let everything = Pattern::parse("*", DefaultPorts::Every).expect("a pattern");
    Network { allow: (0..99).map(entry).collect(), deny: vec![everything], ..Network::default() }
}

#[test]
fn a_decision_allocates_nothing() {
    let rules = Rules::compile(&network());
    let forbidden = DenyList::compile(rules.denied());
    let longest = format!("{}example.com:443", "a.".repeat(121));
    let asked =
        ["service-57.example.com:443", "a.b.team50.example.com:443", "10.0.51.1:80", "[::1]:443", &longest]
            .map(|text| text.parse::<Destination>().expect(text));
    let counted = measure(|| {
        for destination in &asked {
            black_box(rules.matching(destination));
            black_box(forbidden.matches(destination));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_destination_is_read_with_one_allocation() {
    for (text, most) in
        [("Service-57.Example.com:443", 1), ("192.0.2.1:443", 0), ("[2001:db8::1]:443", 0), ("a..b:1", 0)]
    {
        let counted = measure(|| drop(black_box(Destination::parse_authority(text.as_bytes()))));
        assert!(counted.count_total <= most, "{text}: {}", counted.count_total);
    }
}

#[test]
fn a_compiled_manifest_of_a_hundred_entries_takes_less_than_twenty_kibibytes() {
    let network = network();
    let mut rules = None;
    let counted = measure(|| rules = Some(Rules::compile(&network)));
    println!("{} bytes for {} entries", counted.bytes_current, rules.map_or(0, |rules| rules.len()));
    assert!(counted.bytes_current < 20 * 1024, "{} bytes", counted.bytes_current);
}
