//! Signed payloads: what they say, who has to sign them, and what is refused.

use config::Source;
use config::settings::{Approval, ApprovalRole};

use super::*;
use crate::envelope::{Envelope, PayloadType};
use crate::keys::{KeyRing, SigningKey, TrustedKey};
use crate::target::{CertificateTarget, Target};
use crate::testing::{Draft, device, key};

fn ring(keys: &[(&SigningKey, &[Role])]) -> KeyRing {
    let mut ring = KeyRing::default();
    for (key, roles) in keys {
        ring.add(TrustedKey::new(key.id().clone(), key.public(), roles)).unwrap();
    }
    ring
}

#[test]
fn a_manifest_without_an_id_is_named_by_its_payload() {
    let author = key("author");
    let envelope = sign_manifest(Draft { id: "", ..Draft::default() }.read(), 1_700_000_000, &author);
    let ring = ring(&[(&author, &[Role::Author])]);
    let signed = verify_manifest(&envelope, &ring, &Approvals::default()).unwrap();
    let digest = crate::target::to_hex(&sha256(envelope.unverified_payload()));
    assert_eq!(signed.manifest.id.as_str(), format!("cm-{}", &digest[..12]));
    assert_eq!(signed.issued_at, 1_700_000_000);
    assert_eq!(signed.signers, [author.id().clone()]);
}

#[test]
fn a_manifest_needs_its_author_and_where_settings_ask_the_others_each_with_a_key_of_its_own() {
    let (author, manager, security) = (key("author"), key("manager"), key("security"));
    let ring = ring(&[
        (&author, &[Role::Author, Role::Approver]),
        (&manager, &[Role::Approver]),
        (&security, &[Role::Security, Role::Revoker]),
    ]);
    let approvals = Approvals::new(&[
        Approval { agent: None, roles: vec![ApprovalRole::Approver] },
        Approval { agent: Some("agent-1".parse().unwrap()), roles: vec![ApprovalRole::Security] },
    ]);
    for (agent, signers, expected) in [
        ("agent-1", vec![&author, &manager, &security], true),
        ("agent-1", vec![&author, &manager], false),
        ("agent-1", vec![&author, &security], false),
        ("agent-2", vec![&author, &manager], true),
        ("agent-2", vec![&author], false),
        ("agent-2", vec![&manager], false),
        ("agent-2", vec![&author, &author], false),
    ] {
        let mut envelope = sign_manifest(Draft { agent, ..Draft::default() }.read(), 0, signers[0]);
        signers[1..].iter().for_each(|key| envelope.add_signature(key));
        let verified = verify_manifest(&envelope, &ring, &approvals);
        let names: Vec<_> = signers.iter().map(|key| key.id().as_str()).collect();
        assert_eq!(verified.is_ok(), expected, "{agent} {names:?}");
    }
}

#[test]
fn a_signed_payload_that_is_no_manifest_is_refused_with_its_problems() {
    let author = key("author");
    let ring = ring(&[(&author, &[Role::Author])]);
    let good = sign_manifest(Draft::default().read(), 0, &author);
    let good = String::from_utf8(good.unverified_payload().to_vec()).unwrap();
    for payload in [
        String::new(),
        "{}".into(),
        good.replace("issued_at", "issued_on"),
        good.replacen('{', "{\"agent\":\"x\",", 1),
        good.replacen('{', "{\"a\\u0067ent\":\"x\",", 1),
        good.replacen('{', "{\"__proto__\":1,", 1),
        good.replace("3600", "NaN"),
        good.replace("3600", "1e999"),
        format!("{good} {good}"),
        format!("\u{feff}{good}"),
        "[".repeat(10_000),
    ] {
        let envelope = Envelope::sign(PayloadType::Manifest, payload.clone().into_bytes(), &author);
        let verified = verify_manifest(&envelope, &ring, &Approvals::default());
        assert!(matches!(verified, Err(SignedFault::Manifest(_))), "{payload:.100}: {verified:?}");
    }
}

#[test]
fn a_manifest_of_another_person_is_not_repaired_into_ones_own() {
    // A file for people, without `issued_at`, is no payload.
    let text = Draft::default().read().to_json();
    assert!(config::ManifestDraft::read(&Source::new("m.json", text.clone())).is_ok());
    assert!(SignedManifest::read(text.as_bytes(), Vec::new()).is_err());
}

#[test]
fn every_target_survives_signing() {
    let (revoker, approver) = (key("revoker"), key("approver"));
    let ring = ring(&[(&revoker, &[Role::Revoker]), (&approver, &[Role::Approver])]);
    for target in [
        Target::Manifest("cm-987".parse().unwrap()),
        Target::Device(device("device-123")),
        Target::User("alice@example.com".parse().unwrap()),
        Target::Agent("cowork-v1.0".parse().unwrap()),
        Target::Certificate(CertificateTarget::Fingerprint([7; 32])),
        Target::Certificate(CertificateTarget::parse_issuer_serial(b"issuer", "0a").unwrap()),
        Target::All,
    ] {
        let at = "2026-01-17T12:40:00Z".parse().unwrap();
        let (envelope, revocation) =
            sign_revocation(target.clone(), "suspicious exfil", at, &revoker).unwrap();
        let verified = verify_statement(&envelope, &ring);
        assert_eq!(verified, Ok(Statement::Revoke(revocation.clone())));
        assert_eq!(revocation.timestamp, 1_768_653_600);
        let lift = verify_statement(&sign_lift(&revocation, "sorry", at, &approver).unwrap(), &ring);
        match lift {
            Ok(Statement::Lift(lift)) => assert!(target.can_be_lifted() && lift.lifts == revocation.id),
            other => assert!(!target.can_be_lifted() && other.is_err()),
        }
    }
}

#[test]
fn the_same_revocation_signed_twice_is_two_revocations() {
    let revoker = key("revoker");
    let sign = || sign_revocation(Target::All, "x", Timestamp::UNIX_EPOCH, &revoker).unwrap().1.id;
    assert_ne!(sign(), sign());
}

#[test]
fn roles_are_not_interchangeable() {
    let (any, at) = (key("k"), Timestamp::UNIX_EPOCH);
    let (revocation, revoked) = sign_revocation(Target::All, "x", at, &any).unwrap();
    let lift = sign_lift(&revoked, "x", at, &any).unwrap();
    let manifest = sign_manifest(Draft::default().read(), 0, &any);
    for role in Role::ALL {
        let ring = ring(&[(&any, &[role])]);
        assert_eq!(verify_statement(&revocation, &ring).is_ok(), role == Role::Revoker, "{role}");
        assert_eq!(verify_statement(&lift, &ring).is_ok(), role == Role::Approver, "{role}");
        assert_eq!(
            verify_manifest(&manifest, &ring, &Approvals::default()).is_ok(),
            role == Role::Author,
            "{role}"
        );
    }
}

#[test]
fn a_statement_that_is_not_exactly_one_is_refused() {
    let when = r#""reason":"x","timestamp":"2026-01-17T12:40:00Z""#;
    let lifts = format!(r#""lifts":"rv-{}""#, "0".repeat(32));
    assert!(Statement::read(format!(r#"{{"device":"d",{when}}}"#).as_bytes()).is_ok());
    assert!(Statement::read(format!(r#"{{"device":"d",{when},{lifts}}}"#).as_bytes()).is_ok());
    for bad in [
        String::new(),
        "{}".into(),
        format!("{{{when}}}"),
        format!(r#"{{"device":"d","user":"u",{when}}}"#),
        format!(r#"{{"device":"d","device":"e",{when}}}"#),
        format!(r#"{{"device":"d","dev\u0069ce":"e",{when}}}"#),
        format!(r#"{{"device":"a b",{when}}}"#),
        format!(r#"{{"device":1,{when}}}"#),
        format!(r#"{{"all":false,{when}}}"#),
        format!(r#"{{"all":"true",{when}}}"#),
        format!(r#"{{"device":"d","extra":1,{when}}}"#),
        format!(r#"{{"device":"d",{when}}} {{}}"#),
        r#"{"device":"d","reason":"","timestamp":"2026-01-17T12:40:00Z"}"#.into(),
        r#"{"device":"d","reason":"x","timestamp":"yesterday"}"#.into(),
        r#"{"device":"d","reason":"x"}"#.into(),
        format!(r#"{{"certificate":"abcd",{when}}}"#),
        format!(r#"{{"certificate":{{"issuer":"AAAA"}},{when}}}"#),
        format!(r#"{{"certificate":{{"issuer":"AAAA","serial":"01","serial":"02"}},{when}}}"#),
        format!(r#"{{"certificate":{{"issuer":"AAAA","serial":"xyz"}},{when}}}"#),
        format!(r#"{{"device":"d",{when},"lifts":"rv-1"}}"#),
        format!(r#"{{"manifest_id":"cm-1",{when},{lifts}}}"#),
        format!(r#"{{"device":"d","nonce":"{}",{when}}}"#, "0".repeat(40_000)),
    ] {
        assert!(Statement::read(bad.as_bytes()).is_err(), "{bad:.200}");
    }
}
