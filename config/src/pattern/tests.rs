use proptest::prelude::*;

use super::*;
use crate::testing::{a_destination, a_pattern};

fn read(text: &str) -> Result<String, MalformedPattern> {
    Pattern::parse(text, DefaultPorts::Https).map(|pattern| pattern.to_string())
}

#[test]
fn patterns_are_read_into_one_spelling() {
    for (text, printed) in [
        ("api.internal.corp:443", "api.internal.corp:443"),
        ("API.Internal.Corp.", "api.internal.corp:443"),
        ("bücher.example:8443", "xn--bcher-kva.example:8443"),
        ("*.example.com", "*.example.com:443"),
        ("*.Example.com:8000-8100", "*.example.com:8000-8100"),
        ("a.example:*", "a.example:*"),
        ("a.example:1-65535", "a.example:*"),
        ("a.example:80-80", "a.example:80"),
        ("*", "*:443"),
        ("*:*", "*:*"),
        ("*:22", "*:22"),
        ("192.0.2.1", "192.0.2.1:443"),
        ("192.0.2.1/32:80", "192.0.2.1:80"),
        ("10.0.0.0/8", "10.0.0.0/8:443"),
        ("10.0.0.0/8:*", "10.0.0.0/8:*"),
        ("[::1]", "[::1]:443"),
        ("[2001:DB8::1]:80", "[2001:db8::1]:80"),
        ("[fd00::/8]:80-90", "[fd00::/8]:80-90"),
        ("fd00::/8", "[fd00::/8]:443"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8:80"),
        ("_acme.example.com", "_acme.example.com:443"),
        ("localhost:1", "localhost:1"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(printed), "{text}");
    }
}

#[test]
fn what_is_not_a_pattern_is_refused_with_its_reason() {
    for (text, why) in [
        ("", MalformedPattern::Empty),
        ("a*.x.com", MalformedPattern::Wildcard),
        ("*.*.x.com", MalformedPattern::Wildcard),
        ("x.*.com", MalformedPattern::Wildcard),
        ("*x.com", MalformedPattern::Wildcard),
        ("**", MalformedPattern::Wildcard),
        ("*._tcp.example.com", MalformedPattern::Wildcard),
        ("*.", MalformedPattern::Host(MalformedHost::Empty)),
        ("*.1.2.3.4", MalformedPattern::Host(MalformedHost::NotAName)),
        ("a..b", MalformedPattern::Host(MalformedHost::EmptyLabel)),
        ("127.1", MalformedPattern::Host(MalformedHost::Number)),
        ("①②⑦.0.0.1", MalformedPattern::Host(MalformedHost::NotAName)),
        ("a.example:", MalformedPattern::Port),
        ("a.example:0", MalformedPattern::Port),
        ("a.example:0443", MalformedPattern::Port),
        ("a.example:65536", MalformedPattern::Port),
        ("a.example:90-80", MalformedPattern::Port),
        ("a.example:80-", MalformedPattern::Port),
        ("a.example:https", MalformedPattern::Port),
        ("::1", MalformedPattern::Brackets),
        ("::1:443", MalformedPattern::Brackets),
        ("fd00::/8:443", MalformedPattern::Brackets),
        ("[::1", MalformedPattern::Brackets),
        ("[::1]443", MalformedPattern::Brackets),
        ("[10.0.0.0/8]", MalformedPattern::Brackets),
        ("[a.example]", MalformedPattern::Host(MalformedHost::Bracket)),
        ("10.0.0.0/33", MalformedPattern::Network),
        ("10.0.0.0/", MalformedPattern::Network),
        ("10.0.0.0/08", MalformedPattern::Network),
        ("10.0.0/8", MalformedPattern::Network),
        ("10.0.0.1/8", MalformedPattern::HostBits("10.0.0.0/8".parse().expect("a network"))),
        ("https://a.example", MalformedPattern::Url),
        ("user@a.example", MalformedPattern::Url),
        ("x.example/path", MalformedPattern::Url),
    ] {
        assert_eq!(read(text), Err(why), "{text}");
    }
}

#[test]
fn a_pattern_without_port_means_what_its_place_says() {
    let every = Pattern::parse("a.example", DefaultPorts::Every).expect("a pattern");
    assert_eq!(every.ports, PortPattern::EVERY);
}

#[test]
fn only_fit_patterns_are_allowed() {
    let fit = |text| Pattern::parse(text, DefaultPorts::Https).expect(text).fit_to_allow().is_ok();
    for text in
        ["*.example.com", "*.internal.corp", "*.a.b.github.io", "*.www.ck", "a.com", "com", "10.0.0.0/8"]
    {
        assert!(fit(text), "{text}");
    }
    for text in [
        "*",
        "*:443",
        "0.0.0.0/0",
        "::/0",
        "*.com",
        "*.corp",
        "*.co.uk",
        "*.github.io",
        "*.s3.amazonaws.com",
        "*.vercel.app",
        "*.kawasaki.jp",
        "*.foo.kawasaki.jp",
        "*.ck",
        "*.foo.ck",
        "*.xn--p1ai",
        "*.рф",
        "*.localhost",
        "*.internal",
    ] {
        assert!(!fit(text), "{text}");
    }
}

#[test]
fn the_more_specific_pattern_is_the_greater_one() {
    let descending = [
        "a.b.example:443",
        "a.b.example:440-450",
        "a.b.example:*",
        "*.bb.example:443",
        "*.bb.example:*",
        "*.b.example:443",
        "10.0.0.1:*",
        "10.0.0.0/24:443",
        "10.0.0.0/8:443",
        "10.0.0.0/8:*",
        "*:443",
        "*:*",
    ]
    .map(|text| Pattern::parse(text, DefaultPorts::Https).expect(text).specificity());
    assert!(descending.is_sorted_by(|a, b| a > b), "{descending:?}");
}

#[test]
fn a_suffix_matches_whole_labels_below_it_and_never_itself() {
    let pattern = Pattern::parse("*.github.example", DefaultPorts::Https).expect("a pattern");
    for (asked, expected) in [
        ("a.github.example:443", true),
        ("a.b.github.example:443", true),
        ("github.example:443", false),
        ("evilgithub.example:443", false),
        ("github.example.evil.test:443", false),
        ("a.github.example:80", false),
        ("10.0.0.1:443", false),
    ] {
        assert_eq!(pattern.matches(&asked.parse().expect(asked)), expected, "{asked}");
    }
}

proptest! {
    #[test]
    fn a_printed_pattern_reads_back(pattern in a_pattern()) {
        for default in [DefaultPorts::Https, DefaultPorts::Every] {
            prop_assert_eq!(Pattern::parse(&pattern.to_string(), default), Ok(pattern.clone()));
        }
    }

    #[test]
    fn a_pattern_never_matches_across_names_and_addresses(pattern in a_pattern(), asked in a_destination()) {
        if pattern.matches(&asked) && pattern.host != HostPattern::Any {
            prop_assert_eq!(matches!(pattern.host, HostPattern::Network(_)), asked.host().as_name().is_none());
        }
    }

    #[test]
    fn no_text_makes_the_pattern_reader_stumble(text in "\\PC{0,40}|[*.:/\\[\\]0-9a-f-]{0,30}") {
        if let Ok(pattern) = Pattern::parse(&text, DefaultPorts::Https) {
            prop_assert_eq!(Pattern::parse(&pattern.to_string(), DefaultPorts::Every), Ok(pattern));
        }
    }
}
