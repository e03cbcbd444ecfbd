//! Findings and differences, row by row.

use config::{DefaultPorts, DenyList, Pattern};

use super::*;
use crate::testing::Draft;

fn codes(draft: &Draft<'_>, bounds: &PolicyBounds) -> Vec<(&'static str, String)> {
    lint(&draft.read(), bounds).into_iter().map(|finding| (finding.code.as_str(), finding.path)).collect()
}

#[test]
fn a_plain_manifest_has_no_findings() {
    let allow =
        r#""api.internal.corp","a.b.example.com",{"host":"uploads.example.com","upload_bytes":"1MiB"}"#;
    let deny = r#""*","secret.internal.corp""#;
    assert!(codes(&Draft { allow, deny, ..Draft::default() }, &PolicyBounds::default()).is_empty());
}

#[test]
fn every_kind_of_finding_names_its_field() {
    let deny = DenyList::compile(&[Pattern::parse("*.evil.example", DefaultPorts::Every).unwrap()]);
    let bounds = PolicyBounds { deny, ..PolicyBounds::default() };
    for (allow, deny, expected) in [
        (r#""a.test""#, r#""a.test:443""#, vec!["tie"]),
        (r#""*.a.example.com""#, r#""*.a.example.com:400-500""#, vec![]),
        (
            r#""*.a.example.com:400-500""#,
            r#""*.a.example.com:400-450","*.a.example.com:451-500""#,
            vec!["shadowed", "broad_ports"],
        ),
        (r#""a.test:8000-8001","a.test:8000","a.test:8001""#, "", vec!["shadowed"]),
        (r#""10.1.2.0/24""#, r#""10.1.2.0/25","10.1.2.128/25""#, vec!["shadowed", "address"]),
        (r#""x.evil.example""#, "", vec!["forbidden_by_gateway"]),
        ("", "", vec!["nothing_allowed"]),
        (r#""*.example.com""#, "", vec!["broad_wildcard"]),
        (r#""*.corp.example.com""#, "", vec![]),
        (r#""10.0.0.0/16""#, "", vec!["broad_network", "address"]),
        (r#""10.0.0.7""#, "", vec!["address"]),
        (r#""a.test:1000-1200""#, "", vec!["broad_ports"]),
        (r#""api.github.com""#, "", vec!["shared_service"]),
        (r#""dns.google""#, "", vec!["public_resolver"]),
        (r#"{"host":"a.test","upload_bytes":"unlimited"}"#, "", vec!["unlimited_upload"]),
        (r#"{"host":"a.test","tls":"none"}"#, "", vec!["unchecked_tls"]),
        (r#"{"host":"git.test:22","tls":"none"}"#, "", vec![]),
        (r#""a.test:80""#, "", vec!["cleartext"]),
    ] {
        let found = codes(&Draft { allow, deny, ..Draft::default() }, &bounds);
        let found: Vec<_> = found.into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, expected, "{allow} except {deny}");
    }
}

#[test]
fn the_manifest_as_a_whole_is_looked_at() {
    let more = r#","upload_bytes":"unlimited","mode":"report""#;
    let draft = Draft { more, ttl: 90_000, ..Draft::default() };
    let expected = [
        ("unlimited_upload", "capabilities.network.upload_bytes".to_owned()),
        ("report_mode", "capabilities.network.mode".to_owned()),
        ("long_life", "ttl_seconds".to_owned()),
    ];
    assert_eq!(codes(&draft, &PolicyBounds::default()), expected);
    let permitting = PolicyBounds {
        allow_report_mode: true,
        max_ttl: Duration::from_secs(1_000_000),
        ..PolicyBounds::default()
    };
    assert_eq!(
        codes(&draft, &permitting),
        expected,
        "a gateway that permits it makes it no less worth a look"
    );
}

#[test]
fn codes_are_named_once() {
    let names: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}

fn changes(old: &Draft<'_>, new: &Draft<'_>) -> Vec<(&'static str, String)> {
    diff(&old.read(), &new.read())
        .into_iter()
        .map(|difference| (difference.direction.as_str(), difference.subject))
        .collect()
}

#[test]
fn a_difference_is_one_in_what_is_allowed_and_not_in_how_it_is_written() {
    for (old, new, expected) in [
        ((r#""a.test""#, ""), (r#""a.test:443""#, r#""*""#), vec![]),
        ((r#""a.test","b.test""#, ""), (r#""b.test","a.test""#, ""), vec![]),
        ((r#""a.test""#, ""), (r#""a.test","b.test""#, ""), vec![("widened", "b.test:443")]),
        ((r#""a.test","b.test""#, ""), (r#""a.test""#, ""), vec![("narrowed", "b.test:443")]),
        (
            (r#""*.example.com""#, ""),
            (r#""*.example.com""#, r#""secret.example.com""#),
            vec![("narrowed", "secret.example.com:*")],
        ),
        ((r#""a.test:443""#, ""), (r#""a.test:440-450""#, ""), vec![("widened", "a.test:440-450")]),
        (
            (r#"{"host":"a.test","upload_bytes":"1MiB"}"#, ""),
            (r#"{"host":"a.test","upload_bytes":"2MiB"}"#, ""),
            vec![("widened", "a.test:443")],
        ),
        (
            (r#"{"host":"a.test","upload_bytes":"unlimited"}"#, ""),
            (r#"{"host":"a.test","upload_bytes":"2MiB"}"#, ""),
            vec![("narrowed", "a.test:443")],
        ),
        ((r#""a.test""#, ""), (r#"{"host":"a.test","tls":"none"}"#, ""), vec![("widened", "a.test:443")]),
        ((r#""a.test""#, ""), (r#"{"host":"a.test","upload_bytes":5}"#, ""), vec![("changed", "a.test:443")]),
    ] {
        let draft = |(allow, deny)| Draft { allow, deny, ..Draft::default() };
        let expected: Vec<_> = expected.into_iter().map(|(way, subject)| (way, subject.to_owned())).collect();
        assert_eq!(changes(&draft(old), &draft(new)), expected, "{old:?} to {new:?}");
    }
}

#[test]
fn limits_and_names_are_compared_too() {
    let old = Draft { more: r#","upload_bytes":10,"sessions":5"#, ..Draft::default() };
    let new = Draft {
        more: r#","upload_bytes":5,"sessions":6,"mode":"report""#,
        user: "bob",
        ttl: 60,
        ..Draft::default()
    };
    let expected = [
        ("narrowed", "upload_bytes"),
        ("widened", "sessions"),
        ("widened", "mode"),
        ("narrowed", "ttl_seconds"),
        ("changed", "identity.user"),
    ];
    assert_eq!(changes(&old, &new), expected.map(|(way, subject)| (way, subject.to_owned())));
    assert!(changes(&old, &old).is_empty());
}
