use rustls::AlertDescription;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::authority::{Authority, Profile, Revocable, Standing, SubjectKey, Usage};
use crate::identity::IdentityRule;
use crate::lab::{
    DAY, ECDSA_SHA1, ECDSA_SHA256, Lab, Outcome, Presents, Server, client, extension, handshake, id, key_of,
    name_of, nameless, new_key, now, pem, signed_by, time, tlv,
};

/// Shakes hands in TLS 1.3 and asks who it was.
fn attempt(server: &Server, presents: &Presents) -> Result<Arc<VerifiedDevice>, Refusal> {
    outcome(server, &handshake(&server.config, &client(Some(presents.clone()), &TLS13)))
}

fn outcome(server: &Server, outcome: &Outcome) -> Result<Arc<VerifiedDevice>, Refusal> {
    match &outcome.server {
        Ok(presented) => server.verifier.identify(presented, now()),
        Err(error) => Err(Refusal::of(error).unwrap_or_else(|| panic!("{error} is no refusal"))),
    }
}

/// The name as text: `device`, `device/agent` or the refusal.
fn text(outcome: Result<Arc<VerifiedDevice>, Refusal>) -> String {
    match outcome.as_deref() {
        Ok(VerifiedDevice { device, agent: None, .. }) => device.to_string(),
        Ok(VerifiedDevice { device, agent: Some(agent), .. }) => format!("{device}/{agent}"),
        Err(refusal) => refusal.as_str().to_owned(),
    }
}

type Spoil = fn(&mut Profile);

#[test]
fn a_leaf_is_accepted_only_when_everything_about_it_is_right() {
    let rows: &[(&str, &str, Spoil)] = &[
        ("an ordinary one", "d-1", |_| {}),
        ("with a foreign uri besides", "d-1", |p| p.uris.push("https://mdm.example/42".into())),
        ("with a dns name besides", "d-1", |p| p.dns.push("laptop.example".into())),
        ("with serverAuth besides", "d-1", |p| p.usages.push(Usage::ServerAuth)),
        ("with an ed25519 key", "d-1", |p| p.key = SubjectKey::Ed25519),
        ("with an rsa key", "d-1", |p| p.key = SubjectKey::Rsa2048),
        ("bound to an agent", "d-1/a", |p| p.uris = vec!["spiffe://example.org/device/d-1/agent/a".into()]),
        ("expired", "certificate_expired", |p| p.not_after = now() - 10),
        ("not yet valid", "certificate_not_yet_valid", |p| p.not_before = now() + 3_600),
        ("for servers", "wrong_usage", |p| p.usages = vec![Usage::ServerAuth]),
        ("for anything", "wrong_usage", |p| p.usages = vec![Usage::Any]),
        ("for nothing in particular", "wrong_usage", |p| p.usages = vec![]),
        ("an authority's", "authority_as_device", |p| {
            p.standing = Standing::Authority { path_length: None, signs_crls: true };
        }),
        ("with a short rsa key", "weak_key", |p| p.key = SubjectKey::Public(rsa_1024())),
        ("with two device uris", "identity_ambiguous", |p| {
            p.uris.push("spiffe://example.org/device/d-2".into())
        }),
        ("with no uri", "identity_missing", |p| p.uris.clear()),
        ("with a common name only", "identity_missing", |p| {
            *p = Profile { common_name: Some("d-1".into()), ..nameless() }
        }),
        ("with a dns name only", "identity_missing", |p| {
            *p = Profile { dns: vec!["d-1".into()], ..nameless() }
        }),
        ("of another trust domain", "identity_missing", |p| {
            p.uris = vec!["spiffe://example.com/device/d-1".into()]
        }),
        ("a gateway's path", "wrong_usage", |p| p.uris = vec!["spiffe://example.org/gateway/d-1".into()]),
        ("a gateway's path besides", "wrong_usage", |p| p.uris.push("spiffe://example.com/Gateway/g".into())),
        ("with the wrong case", "identity_malformed", |p| {
            p.uris = vec!["spiffe://EXAMPLE.org/device/d-1".into()]
        }),
        ("with a space", "identity_malformed", |p| p.uris = vec!["spiffe://example.org/device/d-1 ".into()]),
        ("with a nul", "identity_malformed", |p| {
            p.uris = vec!["spiffe://example.org/device/d-1\0.evil".into()]
        }),
        ("with a nul in a foreign uri", "identity_malformed", |p| p.uris.push("https://a\0b".into())),
        ("with an escape", "identity_malformed", |p| {
            p.uris = vec!["spiffe://example.org/device/d%2d1".into()]
        }),
        ("with an overlong serial", "certificate_malformed", |p| p.serial = Some(vec![0x7f; 21])),
    ];
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    for (name, expected, spoil) in rows {
        let mut profile = lab.profile();
        spoil(&mut profile);
        let issued = lab.root.issue(&profile).unwrap();
        let fingerprint = issued.fingerprint();
        assert_eq!(text(attempt(&server, &issued.into())), *expected, "{name}");
        let seen = server.seen.take();
        if Refusal::ALL.iter().any(|refusal| refusal.as_str() == *expected) {
            assert!(seen.iter().all(|refused| refused.refusal.as_str() == *expected), "{name}: {seen:?}");
            assert!(seen.iter().any(|refused| refused.fingerprint == fingerprint), "{name}: {seen:?}");
        } else {
            assert!(seen.is_empty(), "{name}: {seen:?}");
        }
    }
}

/// A public key of 1024 bits; nobody needs the private one.
fn rsa_1024() -> Vec<u8> {
    let rsa = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = tlv(0x30, &[&tlv(0x02, &[&[0], &[0xc1; 128]]), &[0x02, 0x03, 1, 0, 1]]);
    tlv(0x30, &[&tlv(0x30, &[rsa]), &tlv(0x03, &[&[0], &key])])
}

#[test]
fn the_other_identity_rules_read_one_name() {
    let lab = Lab::new();
    let rows: &[(IdentityRule, &str, Spoil)] = &[
        (IdentityRule::Dns, "laptop-7.example", |p| p.dns = vec!["laptop-7.example".into()]),
        (IdentityRule::Dns, "identity_missing", |_| {}),
        (IdentityRule::Dns, "identity_ambiguous", |p| p.dns = vec!["a.example".into(), "b.example".into()]),
        (IdentityRule::Dns, "identity_malformed", |p| p.dns = vec!["*.example".into()]),
        (IdentityRule::Dns, "identity_malformed", |p| p.dns = vec!["A.example".into()]),
        (IdentityRule::CommonName, "d-1", |_| {}),
        (IdentityRule::CommonName, "Laptop_7", |p| p.common_name = Some("Laptop_7".into())),
        (IdentityRule::CommonName, "identity_missing", |p| p.common_name = None),
        (IdentityRule::CommonName, "identity_malformed", |p| p.common_name = Some("d 1".into())),
        (IdentityRule::CommonName, "identity_malformed", |p| p.common_name = Some("d-1\0x".into())),
    ];
    for (rule, expected, spoil) in rows {
        let server = lab.server(&TrustSettings { rule: rule.clone(), ..lab.settings() });
        let mut profile = lab.profile();
        spoil(&mut profile);
        assert_eq!(text(attempt(&server, &lab.root.issue(&profile).unwrap().into())), *expected, "{rule:?}");
    }
}

/// A certificate made by hand: DER of the version field, the subject, and the algorithm it claims.
fn by_hand(lab: &Lab, version: &[u8], subject: &[u8], algorithm: &[u8]) -> Presents {
    let model = lab.device("d-1");
    let (_, parsed) = x509_parser::parse_x509_certificate(&model.chain()[0])
        .map(|(r, p)| (r, p.public_key().raw.to_vec()))
        .unwrap();
    let san = extension(17, false, &tlv(0x30, &[&tlv(0x86, &[b"spiffe://example.org/device/d-1"])]));
    let usage = extension(37, false, &tlv(0x30, &[&[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2]]));
    let extensions = if version.is_empty() { Vec::new() } else { tlv(0xa3, &[&tlv(0x30, &[&san, &usage])]) };
    let validity = tlv(0x30, &[&time(now() - 60), &time(now() + 3_600)]);
    let parts = [
        version,
        &[0x02, 1, 77],
        &tlv(0x30, &[algorithm]),
        &name_of(&lab.root),
        &validity,
        subject,
        &parsed,
        &extensions,
    ];
    let der = signed_by(&key_of(&lab.root), algorithm, &tlv(0x30, &parts));
    Presents { chain: vec![der.into()], key: Arc::new(model.key().unwrap()) }
}

#[test]
fn old_versions_weak_signatures_and_doubled_names_are_refused() {
    const V3: &[u8] = &[0xa0, 3, 2, 1, 2];
    let common_name = tlv(0x31, &[&tlv(0x30, &[&[0x06, 3, 0x55, 4, 3], &tlv(0x0c, &[b"d-1"])])]);
    let one = tlv(0x30, &[&common_name]);
    let two = tlv(0x30, &[&common_name, &common_name]);
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    assert_eq!(text(attempt(&server, &by_hand(&lab, V3, &one, ECDSA_SHA256))), "d-1");
    assert_eq!(text(attempt(&server, &by_hand(&lab, &[], &one, ECDSA_SHA256))), "certificate_malformed");
    assert_eq!(text(attempt(&server, &by_hand(&lab, V3, &one, ECDSA_SHA1))), "algorithm_not_accepted");
    let by_name = lab.server(&TrustSettings { rule: IdentityRule::CommonName, ..lab.settings() });
    assert_eq!(text(attempt(&by_name, &by_hand(&lab, V3, &one, ECDSA_SHA256))), "d-1");
    assert_eq!(text(attempt(&by_name, &by_hand(&lab, V3, &two, ECDSA_SHA256))), "identity_ambiguous");
}

#[test]
fn a_peer_without_a_certificate_or_without_its_key_is_refused() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    for version in [&TLS12, &TLS13] {
        let none = handshake(&server.config, &client(None, version));
        assert_eq!(text(outcome(&server, &none)), "no_certificate");
        let thief = Presents { key: Arc::new(new_key()), ..lab.device("d-1").into() };
        let thief = handshake(&server.config, &client(Some(thief), version));
        assert_eq!(text(outcome(&server, &thief)), "possession_unproven");
        assert_eq!(server.seen.take()[0].refusal, Refusal::PossessionUnproven);
    }
    assert_eq!(server.verifier.identify(&[], now()), Err(Refusal::NoCertificate));
}

#[test]
fn the_alert_says_as_much_as_it_may() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let revoked = lab.device("d-1");
    lab.root.revoke(Revocable::Serial(revoked.serial())).unwrap();
    server.verifier.add_crls(&[pem("new.crl", &lab.root.crl(DAY).unwrap())], now());
    let expired = lab.root.issue(&Profile { not_after: now() - 10, ..lab.profile() }).unwrap();
    let stranger = lab.other_root("stranger").issue_device(&id("d-1"), None, DAY).unwrap();
    let server_only = lab.root.issue(&Profile { usages: vec![Usage::ServerAuth], ..lab.profile() }).unwrap();
    let rows = [
        (None, AlertDescription::CertificateRequired),
        (Some(revoked), AlertDescription::CertificateRevoked),
        (Some(expired), AlertDescription::CertificateExpired),
        (Some(stranger), AlertDescription::UnknownCA),
        (Some(server_only), AlertDescription::UnsupportedCertificate),
        (Some(lab.root.issue(&nameless()).unwrap()), AlertDescription::CertificateUnknown),
    ];
    for (issued, alert) in rows {
        let outcome = handshake(&server.config, &client(issued.map(Presents::from), &TLS13));
        assert_eq!(outcome.client, Err(Error::AlertReceived(alert)));
    }
}

#[test]
fn the_subject_of_a_refused_certificate_is_reported_escaped() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let issued = lab.root.issue(&Profile { common_name: Some("x\nok=1".into()), ..nameless() }).unwrap();
    attempt(&server, &issued.into()).unwrap_err();
    assert_eq!(server.seen.take()[0].subject, "CN=x\\0aok\\3d1");
}

#[test]
fn a_certificate_of_a_stranger_or_under_a_forged_name_is_refused() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let stranger = lab.other_root("stranger").issue_device(&id("d-1"), None, DAY).unwrap();
    assert_eq!(attempt(&server, &stranger.into()), Err(Refusal::UnknownIssuer));
    // The right issuer name, another key.
    let body_of = lab.device("d-1").chain()[0].clone();
    let body = crate::signed::Signed::read(&body_of).unwrap().body.to_vec();
    let forged = signed_by(&rcgen::KeyPair::generate().unwrap(), ECDSA_SHA256, &body);
    let forged = Presents { chain: vec![forged.into()], key: Arc::new(new_key()) };
    assert_eq!(attempt(&server, &forged), Err(Refusal::BadSignature));
}

#[test]
fn a_revoked_device_is_refused_from_the_next_handshake_on() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let (one, two): (Presents, Presents) = (lab.device("d-1").into(), lab.device("d-2").into());
    let before = attempt(&server, &one).unwrap();
    lab.root.revoke(Revocable::Device(&id("d-1"))).unwrap();
    let update = server.verifier.add_crls(&[pem("new.crl", &lab.root.crl(DAY).unwrap())], now());
    assert_eq!(update.refused, []);
    assert_eq!(update.newly_revoked.len(), 1);
    assert_eq!(*update.newly_revoked[0].issuer, *before.leaf.issuer);
    assert_eq!(update.newly_revoked[0].serials[0].as_bytes(), &*before.leaf.serial);
    assert_eq!(attempt(&server, &one), Err(Refusal::Revoked));
    assert_eq!(server.verifier.identify(&one.chain, now()), Err(Refusal::Revoked));
    assert_eq!(server.verifier.trust().recheck(&before, now()), Err(Refusal::Revoked));
    assert_eq!(text(attempt(&server, &two)), "d-2");
}

#[test]
fn the_same_serial_number_of_another_authority_is_not_revoked() {
    let lab = Lab::new();
    let other = lab.other_root("other");
    let serial = Some(vec![0x41; 16]);
    let one = lab.root.issue(&Profile { serial: serial.clone(), ..lab.profile() }).unwrap();
    let two = other.issue(&Profile { serial, ..lab.profile() }).unwrap();
    lab.root.revoke(Revocable::Serial(&[0x41; 16])).unwrap();
    let server = lab.server(&lab.settings_with(&[&other], &[&lab.root, &other]));
    assert_eq!(attempt(&server, &one.into()), Err(Refusal::Revoked));
    assert_eq!(text(attempt(&server, &two.into())), "d-1");
}

/// A device below an intermediate, with everything that was issued.
fn below(lab: &Lab) -> (Authority, Presents) {
    let intermediate = lab.root.issue_intermediate("emea", DAY).unwrap();
    let issued = intermediate.issue_device(&id("d-1"), None, DAY).unwrap();
    (intermediate, issued.into())
}

#[test]
fn an_intermediate_counts_whether_it_is_configured_or_presented() {
    let lab = Lab::new();
    let (intermediate, presents) = below(&lab);
    let leaf_only = Presents { chain: presents.chain[..1].to_vec(), ..presents.clone() };
    let configured = lab.server(&lab.settings_with(&[&intermediate], &[&lab.root, &intermediate]));
    let presented = lab.server(&lab.settings_with(&[], &[&lab.root, &intermediate]));
    for (server, presents, expected) in [
        (&configured, &presents, "d-1"),
        (&configured, &leaf_only, "d-1"),
        (&presented, &presents, "d-1"),
        (&presented, &leaf_only, "unknown_issuer"),
    ] {
        assert_eq!(text(attempt(server, presents)), expected);
    }
    let device = attempt(&presented, &presents).unwrap();
    assert_eq!(device.chain.len(), 2);
    assert_eq!(device.chain[0], device.leaf);
}

#[test]
fn a_revoked_intermediate_takes_its_subtree_along() {
    let lab = Lab::new();
    let (intermediate, presents) = below(&lab);
    let sibling: Presents = lab.device("d-2").into();
    for known in [vec![], vec![&intermediate]] {
        let server = lab.server(&lab.settings_with(&known, &[&lab.root, &intermediate]));
        let before = attempt(&server, &presents).unwrap();
        lab.root.revoke(Revocable::Certificate(intermediate.certificate_pem())).unwrap();
        server.verifier.add_crls(&[pem("new.crl", &lab.root.crl(DAY).unwrap())], now());
        assert_eq!(attempt(&server, &presents), Err(Refusal::AuthorityRevoked));
        assert_eq!(server.verifier.trust().recheck(&before, now()), Err(Refusal::AuthorityRevoked));
        assert_eq!(text(attempt(&server, &sibling)), "d-2");
        std::fs::remove_file(lab.root.dir().join("revoked.jsonl")).unwrap();
    }
}

#[test]
fn every_authority_of_the_path_needs_a_fresh_crl_of_its_own() {
    let lab = Lab::new();
    let (intermediate, presents) = below(&lab);
    let stale =
        |authority: &Authority| pem("stale.crl", &authority.crl_between(now() - 100, now() - 10).unwrap());
    let fresh = |authority: &Authority| pem("fresh.crl", &authority.crl(DAY).unwrap());
    let rows = [
        (vec![fresh(&lab.root), fresh(&intermediate)], "d-1"),
        (vec![], "revocation_unknown"),
        (vec![fresh(&lab.root)], "revocation_unknown"),
        (vec![fresh(&intermediate)], "revocation_unknown"),
        (vec![fresh(&lab.root), stale(&intermediate)], "crl_stale"),
        (vec![stale(&lab.root), fresh(&intermediate)], "crl_stale"),
    ];
    for (row, (crls, expected)) in rows.into_iter().enumerate() {
        for known in [vec![], vec![&intermediate]] {
            let server = lab.server(&TrustSettings { crls: crls.clone(), ..lab.settings_with(&known, &[]) });
            assert_eq!(text(attempt(&server, &presents)), expected, "row {row}");
        }
    }
}

#[test]
fn a_crl_of_an_authority_that_may_not_sign_crls_clears_nobody() {
    let lab = Lab::new();
    let (intermediate, presents) = below(&lab);
    // The same name and key, certified again without cRLSign.
    let der = presents.chain[1].clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    let mut profile =
        Profile::authority(parsed.subject().iter_common_name().next().unwrap().as_str().unwrap(), None, DAY);
    profile.standing = Standing::Authority { path_length: None, signs_crls: false };
    profile.key = SubjectKey::Public(parsed.public_key().raw.to_vec());
    let mute = lab.root.issue(&profile).unwrap();
    let presents = Presents { chain: vec![presents.chain[0].clone(), mute.chain()[0].clone()], ..presents };
    let server = lab.server(&lab.settings_with(&[], &[&lab.root, &intermediate]));
    assert_eq!(attempt(&server, &presents), Err(Refusal::RevocationUnknown));
}

#[test]
fn what_else_is_presented_does_not_change_who_it_is() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let plain: Presents = lab.device("d-1").into();
    let expected = attempt(&server, &plain).unwrap();
    let (stranger, other) = (lab.other_root("stranger"), lab.device("d-2"));
    let (unused, _) = below(&lab);
    let stranger = pem("x", stranger.certificate_pem()).certificates().unwrap().remove(0);
    let unused = pem("x", unused.certificate_pem()).certificates().unwrap().remove(0);
    for junk in [
        vec![stranger.clone()],
        vec![other.chain()[0].clone()],
        vec![unused.clone(), stranger],
        vec![vec![1, 2, 3].into()],
    ] {
        let mut presents = plain.clone();
        presents.chain.extend(junk);
        assert_eq!(attempt(&server, &presents).as_ref(), Ok(&expected));
    }
}

/// A tower of `height` intermediates; the device's chain, and all authorities from the root down.
fn tower(lab: &Lab, height: usize) -> (Vec<Authority>, Presents) {
    let mut authorities = vec![lab.root.issue_intermediate(&format!("t{height}"), DAY).unwrap()];
    while authorities.len() < height {
        let next = authorities.last().unwrap().issue_intermediate("next", DAY).unwrap();
        authorities.push(next);
    }
    let issued = authorities.last().unwrap().issue_device(&id("d-1"), None, DAY).unwrap();
    (authorities, issued.into())
}

#[test]
fn a_path_of_five_is_the_longest() {
    let lab = Lab::new();
    for (height, expected) in [(4, "d-1"), (5, "chain_too_long"), (7, "chain_too_long")] {
        let (authorities, presents) = tower(&lab, height);
        let covered: Vec<_> = std::iter::once(&lab.root).chain(&authorities).collect();
        let server = lab.server(&lab.settings_with(&[], &covered));
        assert_eq!(text(attempt(&server, &presents)), expected, "{height}");
    }
}

#[test]
fn too_many_or_too_large_certificates_are_not_looked_at() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let presents: Presents = lab.device("d-1").into();
    let junk = pem("x", lab.other_root("x").certificate_pem()).certificates().unwrap().remove(0);
    for (junk, expected) in [
        (vec![junk.clone(); 9], "d-1"),
        (vec![junk; 10], "chain_too_long"),
        (vec![vec![0x30; 60_000].into()], "d-1"),
        (vec![vec![0x30; 33_000].into(), vec![0x30; 33_000].into()], "chain_too_long"),
    ] {
        let mut chain = presents.chain.clone();
        chain.extend(junk);
        assert_eq!(text(server.verifier.identify(&chain, now())), expected);
    }
}

/// The same certificate under another issuer name, with a signature that nobody's key made.
fn reissued(der: &CertificateDer<'_>, issuer: &[u8]) -> CertificateDer<'static> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
    let old = parsed.issuer().as_raw();
    let body = crate::der::Reader::new(crate::signed::Signed::read(der).unwrap().body).any().unwrap().content;
    let at = body.windows(old.len()).position(|window| window == old).unwrap();
    let body = tlv(0x30, &[&body[..at], issuer, &body[at + old.len()..]]);
    signed_by(&rcgen::KeyPair::generate().unwrap(), ECDSA_SHA256, &body).into()
}

#[test]
fn a_maze_of_forged_authorities_costs_no_more_than_its_bound() {
    // Nine authorities of one name and different keys, each naming itself as issuer: a path builder that follows
    // names before signatures tries tens of thousands of orders.
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let authority = || lab.root.issue(&Profile::authority("maze", None, DAY)).unwrap().chain().remove(0);
    let name = tlv(0x30, &[&tlv(0x31, &[&tlv(0x30, &[&[0x06, 3, 0x55, 4, 3], &tlv(0x0c, &[b"maze"])])])]);
    let mut chain = vec![reissued(&lab.device("d-1").chain()[0], &name)];
    chain.extend((0..9).map(|_| reissued(&authority(), &name)));
    let began = std::time::Instant::now();
    assert_eq!(server.verifier.identify(&chain, now()), Err(Refusal::UnknownIssuer));
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "took {:?}", began.elapsed());
}

#[test]
fn without_tickets_nothing_is_ever_resumed() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    for version in [&TLS12, &TLS13] {
        let client = client(Some(lab.device("d-1").into()), version);
        for round in 0..3 {
            let outcome = handshake(&server.config, &client);
            assert_eq!(outcome.kind, Some(rustls::HandshakeKind::Full), "{version:?} round {round}");
            assert_eq!(outcome.tickets, 0);
            assert!(outcome.server.is_ok());
        }
        lab.root.revoke(Revocable::Device(&id("d-1"))).unwrap();
        server.verifier.add_crls(&[pem("new.crl", &lab.root.crl(DAY).unwrap())], now());
        assert_eq!(outcome(&server, &handshake(&server.config, &client)), Err(Refusal::Revoked));
        std::fs::remove_file(lab.root.dir().join("revoked.jsonl")).unwrap();
        server.verifier.add_crls(&[pem("new.crl", &lab.root.crl(DAY).unwrap())], now());
    }
}

#[test]
fn an_expired_certificate_or_a_stale_crl_ends_a_verified_path() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let device = attempt(&server, &lab.device("d-1").into()).unwrap();
    let trust = server.verifier.trust();
    assert_eq!(trust.recheck(&device, now()), Ok(()));
    assert_eq!(trust.recheck(&device, device.not_after + 1), Err(Refusal::Expired));
    let short = lab.server(&TrustSettings {
        crls: vec![pem("short.crl", &lab.root.crl_between(now() - 10, now() + 600).unwrap())],
        ..lab.settings()
    });
    let trust = short.verifier.trust();
    assert_eq!(trust.recheck(&device, now()), Ok(()));
    assert_eq!(trust.recheck(&device, now() + 601), Err(Refusal::CrlStale));
    assert_eq!(trust.recheck(&device, now() - 3_600), Err(Refusal::NotYetValid));
}

#[test]
fn a_verified_path_ends_with_its_anchor() {
    let lab = Lab::new();
    let other = lab.other_root("other");
    let server = lab.server(&lab.settings_with(&[&other], &[&lab.root, &other]));
    let presents: Presents = lab.device("d-1").into();
    let device = attempt(&server, &presents).unwrap();
    let without = TrustSettings {
        authorities: vec![pem("other.pem", other.certificate_pem())],
        crls: vec![pem("other.crl", &other.crl(DAY).unwrap())],
        ..lab.settings()
    };
    server.verifier.reload(&without, now()).unwrap();
    assert_eq!(server.verifier.trust().recheck(&device, now()), Err(Refusal::UnknownIssuer));
    assert_eq!(attempt(&server, &presents), Err(Refusal::UnknownIssuer));
}

#[test]
fn a_path_with_anything_missing_is_not_good() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let device = attempt(&server, &lab.device("d-1").into()).unwrap();
    let trust = server.verifier.trust();
    for spoil in [
        (|d: &mut VerifiedDevice| d.chain.clear()) as fn(&mut VerifiedDevice),
        |d| d.issuer_keys.clear(),
        |d| d.leaf.serial = Arc::new([1]),
        |d| d.issuer_keys.push([0; 32]),
    ] {
        let mut device = VerifiedDevice::clone(&device);
        spoil(&mut device);
        assert_eq!(trust.recheck(&device, now()), Err(Refusal::UnknownIssuer));
    }
}

#[test]
fn an_expired_root_anchors_nothing() {
    let lab = Lab::new();
    let server = lab.server(&lab.settings());
    let chain = lab.device("d-1").chain();
    let late = now() + 91 * 86_400;
    assert_eq!(server.verifier.identify(&chain, late), Err(Refusal::Expired));
    assert_eq!(
        server.verifier.trust().anchor(&name_of(&lab.root), &root_key(&lab), late).unwrap_err(),
        Refusal::Expired
    );
}

fn root_key(lab: &Lab) -> [u8; 32] {
    let der = pem("x", lab.root.certificate_pem()).certificates().unwrap().remove(0);
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    sha256(parsed.public_key().raw)
}
