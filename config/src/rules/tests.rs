use proptest::prelude::*;

use super::*;
use crate::manifest::Mode;
use crate::pattern::{DefaultPorts, HostPattern};
use crate::testing::{a_destination, a_network, a_pattern};

/// The rules as the manual states them, one entry after the other.
fn reference<'a>(network: &'a Network, asked: &Destination) -> Match<'a> {
    let literal_only = asked.host().as_name().is_some_and(|name| name.has_underscore());
    let allowed = network.allow.iter().zip(0..).filter_map(|(entry, at)| {
        let literal = matches!(entry.pattern.host, HostPattern::Exact(_));
        (!literal_only || literal).then_some((&entry.pattern, Match::Allow(RuleIndex(at))))
    });
    let denied = network.deny.iter().map(|pattern| (pattern, Match::Deny(pattern)));
    let matching: Vec<_> = allowed.chain(denied).filter(|(pattern, _)| pattern.matches(asked)).collect();
    let Some(most) = matching.iter().map(|(pattern, _)| pattern.specificity()).max() else {
        return Match::Unlisted;
    };
    let winners: Vec<_> = matching.iter().filter(|(pattern, _)| pattern.specificity() == most).collect();
    match winners.as_slice() {
        [(_, only)] => *only,
        [(_, first), ..] if winners.iter().all(|(_, verdict)| matches!(verdict, Match::Deny(_))) => *first,
        _ => Match::Tie,
    }
}

fn network(allow: &[&str], deny: &[&str]) -> Network {
    let pattern = |text: &&str, default| Pattern::parse(text, default).expect(text);
    Network {
        allow: allow
            .iter()
            .map(|text| AllowEntry {
                pattern: pattern(text, DefaultPorts::Https),
                upload_bytes_per_session: None,
                upload_bytes: None,
                tls: None,
            })
            .collect(),
        deny: deny.iter().map(|text| pattern(text, DefaultPorts::Every)).collect(),
        ..Network::default()
    }
}

fn is_allowed(network: &Network, asked: &str) -> bool {
    matches!(Rules::compile(network).matching(&asked.parse().expect(asked)), Match::Allow(_))
}

#[test]
fn an_empty_manifest_allows_nothing() {
    let rules = Rules::compile(&Network { mode: Mode::Report, ..Network::default() });
    assert!(rules.is_empty());
    for asked in ["a.example:443", "10.0.0.1:443", "[::1]:443", "localhost:1"] {
        assert_eq!(rules.matching(&asked.parse().expect(asked)), Match::Unlisted);
    }
}

#[test]
fn an_address_is_never_matched_by_a_name_nor_the_reverse() {
    let names = network(&["*.example.com", "a.example.com:*"], &[]);
    assert!(!is_allowed(&names, "192.0.2.1:443"));
    let addresses = network(&["192.0.2.0/24:*"], &[]);
    assert!(is_allowed(&addresses, "192.0.2.1:443"));
    assert!(!is_allowed(&addresses, "192.0.2.1.example.com:443"));
}

#[test]
fn families_of_addresses_are_kept_apart() {
    let v6 = network(&["[2000::/3]:*"], &["::/0"]);
    assert_eq!(Rules::compile(&v6).matching(&"10.0.0.1:443".parse().expect("v4")), Match::Unlisted);
    let v4 = network(&["0.0.0.0/1:*"], &[]);
    assert!(is_allowed(&v4, "[::ffff:10.0.0.1]:80"));
    assert!(!is_allowed(&v4, "[::10.0.0.1]:80"));
}

#[test]
fn a_service_label_is_allowed_only_by_its_own_name() {
    let wide = network(&["*.example.com"], &[]);
    assert!(!is_allowed(&wide, "_acme.example.com:443"));
    let literal = network(&["*.example.com", "_acme.example.com"], &[]);
    assert!(is_allowed(&literal, "_acme.example.com:443"));
    let denied = network(&[], &["*.example.com"]);
    let rules = Rules::compile(&denied);
    assert!(matches!(rules.matching(&"_acme.example.com:443".parse().expect("a name")), Match::Deny(_)));
}

#[test]
fn a_gateway_wide_denial_names_its_most_specific_pattern() {
    let patterns = ["*.evil.example", "a.evil.example:25", "192.0.2.0/24"]
        .map(|text| Pattern::parse(text, DefaultPorts::Every).expect(text));
    let list = DenyList::compile(&patterns);
    for (asked, pattern) in [
        ("a.evil.example:25", Some("a.evil.example:25")),
        ("a.evil.example:443", Some("*.evil.example:*")),
        ("_x.evil.example:443", Some("*.evil.example:*")),
        ("evil.example:443", None),
        ("192.0.2.9:443", Some("192.0.2.0/24:*")),
        ("198.51.100.1:443", None),
    ] {
        let found = list.matches(&asked.parse().expect(asked)).map(ToString::to_string);
        assert_eq!(found.as_deref(), pattern, "{asked}");
    }
    assert!(DenyList::default().matches(&"a.example:1".parse().expect("a name")).is_none());
}

#[test]
fn many_names_keep_their_own_rules() {
    let hosts: Vec<String> = (0..1000).map(|n| format!("h{n}.s{}.example.com", n % 7)).collect();
    let listed = network(&hosts.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let rules = Rules::compile(&listed);
    for (at, host) in hosts.iter().enumerate() {
        let Match::Allow(index) = rules.matching(&format!("{host}:443").parse().expect(host)) else {
            panic!("{host} is listed")
        };
        assert_eq!(index.position() as usize, at);
        assert_eq!(rules.allow_entry(index).expect(host).pattern.to_string(), format!("{host}:443"));
    }
    assert_eq!(rules.matching(&"h1000.s1.example.com:443".parse().expect("a name")), Match::Unlisted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn compiled_rules_agree_with_the_rules_as_stated(network in a_network(), asked in a_destination()) {
        let rules = Rules::compile(&network);
        prop_assert_eq!(rules.matching(&asked), reference(&network, &asked));
    }

    #[test]
    fn a_removed_entry_of_allow_never_lets_more_through(network in a_network(), asked in a_destination(), at in 0_usize..12) {
        let mut narrower = network.clone();
        if at < narrower.allow.len() {
            narrower.allow.remove(at);
        }
        let was_tie = Rules::compile(&network).matching(&asked) == Match::Tie;
        let before = matches!(Rules::compile(&network).matching(&asked), Match::Allow(_));
        let after = matches!(Rules::compile(&narrower).matching(&asked), Match::Allow(_));
        // Two overlapping entries deny each other; a reader refuses such a manifest, so that only this case remains.
        prop_assert!(before || !after || was_tie);
    }

    #[test]
    fn an_added_denial_never_lets_more_through(network in a_network(), denied in a_pattern(), asked in a_destination()) {
        let mut narrower = network.clone();
        narrower.deny.push(denied);
        let before = matches!(Rules::compile(&network).matching(&asked), Match::Allow(_));
        let after = matches!(Rules::compile(&narrower).matching(&asked), Match::Allow(_));
        prop_assert!(before || !after);
    }

    #[test]
    fn what_the_gateway_forbids_is_what_any_of_its_patterns_matches(
        patterns in prop::collection::vec(a_pattern(), 0..8),
        asked in a_destination(),
    ) {
        let list = DenyList::compile(&patterns);
        prop_assert_eq!(list.matches(&asked).is_some(), patterns.iter().any(|pattern| pattern.matches(&asked)));
    }
}
