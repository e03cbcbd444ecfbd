//! The decision, row by row: which reason comes first, and which manifest applies.

use std::time::Duration;

use config::{DefaultPorts, DenyList, Pattern};

use super::*;
use crate::revocations::Revocation;
use crate::snapshot::PolicyBounds;
use crate::target::CertificateTarget;
use crate::testing::{Draft, destination, device, revocation};

const NOW: i64 = 1000;

fn certificate(number: u8) -> CertificateId {
    CertificateId { fingerprint: [number; 32], issuer: [1, 2].into(), serial: [number].into() }
}

fn chain() -> [CertificateId; 2] {
    [certificate(7), certificate(8)]
}

/// What is asked, in the order of the rows: certificate's agent, requested agent, destination.
fn ask(
    snapshot: &Snapshot,
    certificate_agent: &str,
    requested_agent: &str,
    to: &str,
    now: i64,
) -> Result<Grant, Denial> {
    let agent = |name: &str| (!name.is_empty()).then(|| name.parse().unwrap());
    snapshot.decide(&Asking {
        device: &device("device-1"),
        certificate_agent: agent(certificate_agent).as_ref(),
        requested_agent: agent(requested_agent).as_ref(),
        certificates: &chain(),
        destination: &destination(to),
        now,
    })
}

fn reason(snapshot: &Snapshot, to: &str) -> Option<Reason> {
    ask(snapshot, "", "", to, NOW).err().map(|denial| denial.reason)
}

fn snapshot(manifests: &[LiveManifest], revoked: &[Target]) -> Snapshot {
    let revocations: Vec<Revocation> = revoked.iter().cloned().map(revocation).collect();
    Snapshot::build(5, PolicyBounds::default(), manifests.to_vec(), revocations)
}

fn everything_revoked() -> Vec<Target> {
    vec![
        Target::All,
        Target::Device(device("device-1")),
        Target::Certificate(CertificateTarget::Fingerprint([8; 32])),
        Target::User("alice".parse().unwrap()),
        Target::Agent("agent-1".parse().unwrap()),
        Target::Manifest("cm-1".parse().unwrap()),
    ]
}

#[test]
fn nothing_is_allowed_by_an_empty_snapshot() {
    assert_eq!(reason(&snapshot(&[], &[]), "a.example.com:443"), Some(Reason::NoManifest));
    let nothing_listed = Draft { allow: "", ..Draft::default() }.live(NOW);
    assert_eq!(
        reason(&snapshot(&[nothing_listed], &[]), "a.example.com:443"),
        Some(Reason::DestinationNotListed)
    );
}

#[test]
fn the_reasons_come_in_their_fixed_order() {
    let expected = [
        Reason::AllRevoked,
        Reason::DeviceRevoked,
        Reason::CertificateRevoked,
        Reason::UserRevoked,
        Reason::AgentRevoked,
        Reason::ManifestRevoked,
    ];
    let revoked = everything_revoked();
    for (index, expected) in expected.into_iter().enumerate() {
        let snapshot = snapshot(&[Draft::default().live(0)], &revoked[index..]);
        assert_eq!(reason(&snapshot, "forbidden.example:443"), Some(expected));
    }
    let expired = snapshot(&[Draft { ttl: 1000, ..Draft::default() }.live(0)], &[]);
    assert_eq!(reason(&expired, "forbidden.example:443"), Some(Reason::ManifestExpired));
}

#[test]
fn a_revocation_of_somebody_else_changes_nothing() {
    let others = [
        Target::Device(device("device-2")),
        Target::User("bob".parse().unwrap()),
        Target::Agent("agent-2".parse().unwrap()),
        Target::Manifest("cm-2".parse().unwrap()),
        Target::Certificate(CertificateTarget::Fingerprint([9; 32])),
        Target::Certificate(CertificateTarget::parse_issuer_serial(&[1, 3], "07").unwrap()),
    ];
    assert_eq!(reason(&snapshot(&[Draft::default().live(NOW)], &others), "a.example.com:443"), None);
}

#[test]
fn any_certificate_of_the_chain_counts_by_either_name() {
    for target in [
        CertificateTarget::Fingerprint([7; 32]),
        CertificateTarget::Fingerprint([8; 32]),
        CertificateTarget::parse_issuer_serial(&[1, 2], "08").unwrap(),
    ] {
        let snapshot = snapshot(&[Draft::default().live(NOW)], &[Target::Certificate(target)]);
        assert_eq!(snapshot.standing(&device("device-1"), &chain()), Err(Reason::CertificateRevoked));
    }
}

#[test]
fn the_manifest_is_chosen_by_certificate_then_request_then_if_it_is_the_only_one() {
    let first = Draft { id: "cm-1", agent: "agent-1", ..Draft::default() };
    let second = Draft { id: "cm-2", agent: "agent-2", ttl: 10, ..Draft::default() };
    let elsewhere = Draft { id: "cm-3", agent: "agent-3", device: "device-2", ..Draft::default() };
    let both = snapshot(&[first.live(NOW), second.live(NOW), elsewhere.live(NOW)], &[]);
    for (certificate_agent, requested_agent, now, expected) in [
        ("agent-1", "", NOW, Ok("cm-1")),
        ("agent-1", "agent-2", NOW, Ok("cm-1")),
        ("", "agent-2", NOW, Ok("cm-2")),
        ("", "", NOW, Err(Reason::ManifestRequired)),
        ("", "agent-3", NOW, Err(Reason::NoManifest)),
        ("agent-3", "agent-1", NOW, Err(Reason::NoManifest)),
        ("", "", NOW + 10, Ok("cm-1")),
        ("", "agent-2", NOW + 10, Err(Reason::ManifestExpired)),
        ("", "", NOW + 3600, Err(Reason::ManifestExpired)),
    ] {
        let answer = ask(&both, certificate_agent, requested_agent, "a.example.com:443", now);
        let answer =
            answer.as_ref().map(|grant| grant.manifest.manifest.id.as_str()).map_err(|denial| denial.reason);
        assert_eq!(answer, expected, "{certificate_agent:?} {requested_agent:?} {now}");
    }
    let revoked =
        snapshot(&[first.live(NOW), second.live(NOW)], &[Target::Agent("agent-2".parse().unwrap())]);
    assert!(ask(&revoked, "", "", "a.example.com:443", NOW).is_ok(), "the other one is the only one left");
}

#[test]
fn a_manifest_lives_until_the_second_of_its_end_and_never_beyond_the_cap() {
    let live = Draft { ttl: 60, ..Draft::default() }.live(NOW);
    assert_eq!((live.expired(NOW + 59), live.expired(NOW + 60)), (false, true));
    let manifest = Draft { ttl: 1_000_000, ..Draft::default() }.read().identified("cm-1".parse().unwrap());
    let capped = LiveManifest::new(manifest.clone(), NOW, [0; 32], Vec::new(), Duration::from_secs(5));
    assert_eq!(capped.expires_at, NOW + 5);
    assert!(LiveManifest::new(manifest, i64::MAX, [0; 32], Vec::new(), Duration::MAX).expired(i64::MAX));
}

#[test]
fn the_rules_decide_in_the_end_and_the_deciding_pattern_is_named() {
    let manifest = Draft {
        allow: r#""*.example.com","tie.example.com","forbidden.test""#,
        deny: r#""*","secret.example.com","tie.example.com:443""#,
        ..Draft::default()
    };
    let deny = DenyList::compile(&[Pattern::parse("forbidden.test", DefaultPorts::Every).unwrap()]);
    let bounds = PolicyBounds { deny, ..PolicyBounds::default() };
    let snapshot = Snapshot::build(5, bounds, [manifest.live(NOW)], []);
    for (to, expected, rule) in [
        ("a.example.com:443", None, None),
        ("a.example.com:80", Some(Reason::DestinationDenied), Some("*:*")),
        ("secret.example.com:443", Some(Reason::DestinationDenied), Some("secret.example.com:*")),
        ("tie.example.com:443", Some(Reason::DestinationAmbiguous), None),
        ("forbidden.test:443", Some(Reason::DestinationForbidden), Some("forbidden.test:*")),
        ("other.test:443", Some(Reason::DestinationDenied), Some("*:*")),
    ] {
        let answer = ask(&snapshot, "", "", to, NOW);
        assert_eq!(answer.as_ref().err().map(|denial| denial.reason), expected, "{to}");
        assert_eq!(answer.as_ref().err().and_then(|denial| denial.rule.as_deref()), rule, "{to}");
        assert!(answer.is_ok_and(|grant| grant.rule.is_some() && grant.revision == 5) == expected.is_none());
    }
}

#[test]
fn report_mode_lets_through_what_no_rule_mentions_if_the_gateway_agrees() {
    let manifest =
        Draft { deny: r#""denied.test""#, more: r#","mode":"report""#, ..Draft::default() }.live(NOW);
    let deny = DenyList::compile(&[Pattern::parse("forbidden.test", DefaultPorts::Every).unwrap()]);
    for allow_report_mode in [true, false] {
        let bounds = PolicyBounds { allow_report_mode, deny: deny.clone(), ..PolicyBounds::default() };
        let snapshot = Snapshot::build(5, bounds, [manifest.clone()], []);
        let unlisted = ask(&snapshot, "", "", "other.test:443", NOW);
        if allow_report_mode {
            let grant = unlisted.unwrap();
            assert_eq!((grant.rule, grant.would_deny), (None, Some(Reason::DestinationNotListed)));
        } else {
            assert_eq!(unlisted.unwrap_err().reason, Reason::DestinationNotListed);
        }
        assert_eq!(reason(&snapshot, "a.example.com:443"), None);
        assert_eq!(reason(&snapshot, "denied.test:443"), Some(Reason::DestinationDenied));
        assert_eq!(reason(&snapshot, "forbidden.test:443"), Some(Reason::DestinationForbidden));
    }
}
