use super::*;
use crate::authority::{Authority, Profile, Revocable, Standing, SubjectKey};
use crate::lab::{DAY, Lab, crl, entry, extension, id, now, number, pem, tlv};

fn load(settings: &TrustSettings) -> Result<Trust, TrustFaults> {
    Trust::load(settings, &HighWater::default(), now())
}

/// The faults of loading `crls` beside the root.
fn faults(lab: &Lab, crls: Vec<Document>) -> Vec<TrustFault> {
    match load(&TrustSettings { crls, ..lab.settings() }) {
        Ok(_) => Vec::new(),
        Err(TrustFaults(faults)) => faults,
    }
}

/// One CRL under each name, the older first.
fn two_crls(authority: &Authority) -> [Document; 2] {
    ["older.crl", "newer.crl"].map(|name| pem(name, &authority.crl(DAY).unwrap()))
}

#[test]
fn a_crl_that_could_be_misread_is_refused_by_name() {
    let lab = Lab::new();
    let made =
        |extensions: &[&[u8]]| crl(&lab.root, now() - 60, now() + 600, &entry(&[7]), &extensions.concat());
    let reasons = tlv(0x30, &[&[0x83, 2, 6, 0x40]]);
    let indirect = tlv(0x30, &[&[0x84, 1, 0xff]]);
    let users = tlv(0x30, &[&[0x81, 1, 0xff]]);
    let point = tlv(0x30, &[&tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[b"http://a.example/x.crl"])])])]);
    let issuer = extension(29, true, &tlv(0x30, &[]));
    let foreign_entry = tlv(0x30, &[&[0x02, 1, 7], &crate::lab::time(now()), &tlv(0x30, &[&issuer])]);
    let with_entry = |entry: &[u8]| crl(&lab.root, now() - 60, now() + 600, entry, &number(1));
    let rows = [
        ("complete", made(&[&number(1)]), None),
        ("delta", made(&[&number(1), &extension(27, true, &[0x02, 1, 1])]), Some("a delta crl")),
        ("indirect", made(&[&number(1), &extension(28, true, &indirect)]), Some("an indirect crl")),
        ("by reason", made(&[&number(1), &extension(28, true, &reasons)]), Some("for some reasons only")),
        ("users only", made(&[&number(1), &extension(28, true, &users)]), Some("issuing distribution point")),
        (
            "with a point",
            made(&[&number(1), &extension(28, true, &point)]),
            Some("issuing distribution point"),
        ),
        (
            "not critical",
            made(&[&number(1), &extension(28, false, &point)]),
            Some("issuing distribution point"),
        ),
        (
            "unknown critical",
            made(&[&number(1), &extension(99, true, &[5, 0])]),
            Some("unknown critical extension"),
        ),
        ("other issuers' entries", with_entry(&foreign_entry), Some("an indirect crl")),
        ("overlong serial", with_entry(&entry(&[0x7f; 21])), Some("overlong serial")),
        ("no number", made(&[&extension(35, false, &[0x30, 0])]), Some("no crl number")),
        ("negative number", made(&[&number(0x80)]), Some("malformed")),
        ("no extensions", crl(&lab.root, now() - 60, now() + 600, &[], &[]), Some("malformed")),
        (
            "from the future",
            crl(&lab.root, now() + 400, now() + 600, &[], &number(1)),
            Some("from the future"),
        ),
        ("empty", pem("odd.crl", ""), Some("holds no crl")),
        ("a certificate", pem("odd.crl", lab.root.certificate_pem()), Some("holds no crl")),
        ("junk", Document::new("odd.crl", vec![0x30, 0x82, 0, 1, 0]), Some("malformed")),
        (
            "spoilt pem",
            pem("odd.crl", "-----BEGIN X509 CRL-----\n!\n-----END X509 CRL-----\n"),
            Some("bad pem"),
        ),
    ];
    for (name, document, expected) in rows {
        let found: Vec<_> = faults(&lab, vec![document]).iter().map(ToString::to_string).collect();
        match expected {
            None => assert_eq!(found, [""; 0], "{name}"),
            Some(expected) => {
                assert!(found.iter().any(|fault| fault.contains(expected)), "{name}: {found:?}");
                assert!(found.iter().all(|fault| fault.starts_with("odd.crl")), "{name}: {found:?}");
            }
        }
    }
}

#[test]
fn a_forged_crl_is_refused_and_keeps_nobody_out() {
    let lab = Lab::new();
    let device = lab.device("d-1");
    let server = lab.server(&lab.settings());
    // The right name, a high number, another key.
    let forger = lab.other_root("forger");
    let mut forged = crl(&lab.root, now() - 60, now() + 600, &entry(device.serial()), &number(100)).bytes;
    let at = forged.len() - 3;
    forged[at] ^= 1;
    let forged = Document::new("forged.crl", forged);
    let strangers = pem("stranger.crl", &forger.crl(DAY).unwrap());
    let genuine = pem("genuine.crl", &lab.root.crl(DAY).unwrap());
    let update = server.verifier.add_crls(&[forged, strangers, genuine], now());
    assert!(matches!(&update.refused[..], [TrustFault::CrlNotSigned { .. }]), "{:?}", update.refused);
    assert_eq!(update.newly_revoked, []);
    assert!(server.verifier.identify(&device.chain(), now()).is_ok());
    assert!(update.trust.crl_status().iter().any(|crl| crl.origin == "genuine.crl" && crl.proved));
    assert!(update.trust.crl_status().iter().any(|crl| crl.origin == "stranger.crl" && !crl.proved));
}

#[test]
fn crls_of_authorities_that_nobody_has_met_are_few() {
    let lab = Lab::new();
    let stranger = lab.other_root("stranger");
    let many: Vec<_> = (0..9).map(|_| pem("s.crl", &stranger.crl(DAY).unwrap())).collect();
    let update = load(&lab.settings()).unwrap().with_crls(&many, now());
    assert!(matches!(&update.refused[..], [TrustFault::CrlsUnproven { .. }]));
}

#[test]
fn the_highest_number_counts_and_a_rollback_is_refused() {
    let lab = Lab::new();
    let [older, newer] = two_crls(&lab.root);
    let device = lab.device("d-1").chain();
    let in_force = |trust: &Trust| trust.crl_status()[0].number.to_string();
    let is_rollback = |faults: &[TrustFault]| matches!(faults, [TrustFault::CrlRolledBack { origin, .. }] if origin == "older.crl");
    // In one set, in any order.
    for set in [vec![older.clone(), newer.clone()], vec![newer.clone(), older.clone()]] {
        let trust = load(&TrustSettings { crls: set.clone(), ..lab.settings() }).unwrap();
        assert_eq!((trust.crl_status().len(), in_force(&trust)), (1, "2".into()));
        // Reading the same directory again is no rollback.
        assert_eq!(trust.with_crls(&set, now()).refused, []);
        // An old file alone is.
        let update = trust.with_crls(std::slice::from_ref(&older), now());
        assert!(is_rollback(&update.refused));
        assert_eq!(in_force(&update.trust), "2");
        let settings = TrustSettings { crls: vec![older.clone()], ..lab.settings() };
        let update = trust.reload(&settings, now()).unwrap();
        assert!(is_rollback(&update.refused));
        assert_eq!(in_force(&update.trust), "2");
        // Across a restart too, by the marks that were kept, until the successor comes from wherever.
        let marks = HighWater::parse(&trust.high_water().to_text()).unwrap();
        let restarted = Trust::load(&settings, &marks, now()).unwrap();
        assert!(is_rollback(restarted.set_aside()));
        assert_eq!(restarted.uncovered(now()).len(), 1);
        let verifier = crate::DeviceVerifier::new(restarted, None);
        assert_eq!(verifier.identify(&device, now()), Err(Refusal::RevocationUnknown));
        assert_eq!(verifier.add_crls(&set, now()).refused, []);
        assert!(verifier.identify(&device, now()).is_ok());
    }
}

#[test]
fn a_rollback_of_an_intermediate_that_was_met_is_refused_after_a_restart() {
    let lab = Lab::new();
    let below = lab.root.issue_intermediate("emea", DAY).unwrap();
    let chain = below.issue_device(&id("d-1"), None, DAY).unwrap().chain();
    let [older, newer] = two_crls(&below);
    let root = pem("root.crl", &lab.root.crl(DAY).unwrap());
    let settings = |crl: &Document| TrustSettings { crls: vec![root.clone(), crl.clone()], ..lab.settings() };
    let server = lab.server(&settings(&newer));
    assert!(server.verifier.identify(&chain, now()).is_ok());
    // Met by now, so that a later set is judged at once.
    let update = server.verifier.add_crls(std::slice::from_ref(&older), now());
    assert!(matches!(&update.refused[..], [TrustFault::CrlRolledBack { .. }]), "{:?}", update.refused);
    // After a restart it is not known yet, and judged when it is met.
    let trust = Trust::load(&settings(&older), &server.verifier.trust().high_water(), now()).unwrap();
    let restarted = crate::DeviceVerifier::new(trust, None);
    assert_eq!(restarted.identify(&chain, now()), Err(Refusal::CrlStale));
    restarted.add_crls(&[newer], now());
    assert!(restarted.identify(&chain, now()).is_ok());
}

#[test]
fn a_crl_that_came_another_way_survives_a_reload_of_the_settings() {
    let lab = Lab::new();
    let device = lab.device("d-1");
    let settings = lab.settings();
    let server = lab.server(&settings);
    lab.root.revoke(Revocable::Serial(device.serial())).unwrap();
    server.verifier.add_crls(&[pem("fed.crl", &lab.root.crl(DAY).unwrap())], now());
    let update = server.verifier.reload(&settings, now()).unwrap();
    assert!(matches!(&update.refused[..], [TrustFault::CrlRolledBack { .. }]));
    assert_eq!(server.verifier.identify(&device.chain(), now()), Err(Refusal::Revoked));
}

#[test]
fn newly_revoked_are_those_that_the_last_crl_did_not_list() {
    let lab = Lab::new();
    let serials: Vec<_> = (0..4).map(|n| lab.device(&format!("d-{n}")).serial().to_vec()).collect();
    let revoke = |n: usize| lab.root.revoke(Revocable::Serial(&serials[n])).unwrap();
    revoke(0);
    let trust = load(&lab.settings()).unwrap();
    revoke(1);
    revoke(2);
    let first = trust.with_crls(&[pem("a.crl", &lab.root.crl(DAY).unwrap())], now());
    let mut found: Vec<_> =
        first.newly_revoked[0].serials.iter().map(|serial| serial.as_bytes().to_vec()).collect();
    let mut expected = serials[1..3].to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(first.trust.epoch(), trust.epoch() + 1);
    revoke(3);
    let second = first.trust.reload(&lab.settings(), now()).unwrap();
    assert_eq!(second.newly_revoked.len(), 1);
    assert_eq!(second.newly_revoked[0].serials.len(), 1);
    assert_eq!(second.newly_revoked[0].serials[0].as_bytes(), serials[3]);
}

#[test]
fn every_faulty_file_is_named_at_once() {
    let lab = Lab::new();
    let settings = TrustSettings {
        authorities: vec![pem("a.pem", "nothing"), pem("b.pem", lab.device("d").certificate_pem())],
        crls: vec![pem("c.crl", "")],
        ..lab.settings()
    };
    let faults = load(&settings).unwrap_err().to_string();
    for origin in ["a.pem", "b.pem", "c.crl"] {
        assert!(faults.lines().any(|line| line.starts_with(origin)), "{faults}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.pem");
    for path in [missing.as_path(), dir.path()] {
        let fault = Document::read(path).unwrap_err();
        assert!(fault.to_string().starts_with(&path.display().to_string()), "{fault}");
    }
}

#[test]
fn only_a_sound_authority_is_an_anchor() {
    let lab = Lab::new();
    let other = lab.other_root("other");
    let issued = |profile: &Profile| lab.root.issue(profile).unwrap();
    let leaf = issued(&lab.profile());
    let weak = issued(&Profile {
        key: SubjectKey::Public(short_rsa()),
        standing: Standing::Authority { path_length: None, signs_crls: true },
        ..lab.profile()
    });
    let rows = [
        ("a device", leaf.certificate_pem(), "basic constraints"),
        ("a short key", weak.certificate_pem(), "too weak"),
        ("nothing", "", "holds no certificate"),
        ("a key", leaf.key_pem().unwrap(), "holds no certificate"),
    ];
    for (name, text, expected) in rows {
        let settings =
            TrustSettings { authorities: vec![pem("ca.pem", text)], crls: vec![], ..lab.settings() };
        let fault = load(&settings).unwrap_err().to_string();
        assert!(fault.contains(expected), "{name}: {fault}");
    }
    let both = format!("{}{}", lab.root.certificate_pem(), other.certificate_pem());
    let settings = TrustSettings { authorities: vec![pem("ca.pem", &both)], crls: vec![], ..lab.settings() };
    assert_eq!(load(&settings).unwrap().authorities.anchors.len(), 2);
}

fn short_rsa() -> Vec<u8> {
    let rsa = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = tlv(0x30, &[&tlv(0x02, &[&[0], &[0xc1; 128]]), &[0x02, 0x03, 1, 0, 1]]);
    tlv(0x30, &[&tlv(0x30, &[rsa]), &tlv(0x03, &[&[0], &key])])
}

#[test]
fn an_intermediate_beside_its_root_is_no_anchor_and_alone_it_is() {
    let lab = Lab::new();
    let below = lab.root.issue_intermediate("emea", DAY).unwrap();
    let beside = load(&lab.settings_with(&[&below], &[])).unwrap();
    assert_eq!((beside.authorities.anchors.len(), beside.authorities.intermediates.len()), (1, 1));
    let alone = TrustSettings { authorities: vec![pem("ca.pem", below.certificate_pem())], ..lab.settings() };
    let alone = load(&TrustSettings { crls: vec![], ..alone }).unwrap();
    assert_eq!((alone.authorities.anchors.len(), alone.authorities.intermediates.len()), (1, 0));
}

#[test]
fn authorities_without_a_fresh_crl_are_listed() {
    let lab = Lab::new();
    let below = lab.root.issue_intermediate("emea", DAY).unwrap();
    let trust = load(&lab.settings_with(&[&below], &[&lab.root])).unwrap();
    assert_eq!(trust.uncovered(now()).len(), 1);
    assert!(trust.uncovered(now())[0].contains("emea"));
    assert_eq!(trust.uncovered(now() + 2 * 86_400).len(), 2);
    let update = trust.with_crls(&[pem("b.crl", &below.crl(DAY).unwrap())], now());
    assert_eq!(update.trust.uncovered(now()), [""; 0]);
}

#[test]
fn the_identity_rule_does_not_change_under_way() {
    let lab = Lab::new();
    let trust = load(&lab.settings()).unwrap();
    let other = TrustSettings { rule: IdentityRule::Dns, ..lab.settings() };
    assert_eq!(trust.reload(&other, now()).unwrap_err().0, [TrustFault::RuleChanged]);
}

#[test]
fn a_crl_beyond_the_configured_length_is_refused() {
    let lab = Lab::new();
    for serial in 1..=3_u8 {
        lab.root.revoke(Revocable::Serial(&[serial])).unwrap();
    }
    for (most, good) in [(3, true), (2, false)] {
        assert_eq!(load(&TrustSettings { crl_max_entries: most, ..lab.settings() }).is_ok(), good);
    }
}

/// Measured by hand: `cargo test --release -p portcullis-certs a_million -- --ignored --nocapture`.
#[test]
#[ignore = "takes seconds and is read by a person"]
fn a_million_entries_are_workable() {
    let lab = Lab::new();
    let mut entries = Vec::new();
    for serial in 0..1_000_000_u64 {
        entries.extend(entry(&[&[0x40; 8][..], &serial.to_be_bytes()].concat()));
    }
    let document = crl(&lab.root, now() - 60, now() + 6_000, &entries, &number(9));
    let before = resident_kib();
    let began = std::time::Instant::now();
    let trust = load(&TrustSettings { crls: vec![document.clone()], ..lab.settings() }).unwrap();
    let (took, after) = (began.elapsed(), resident_kib());
    println!(
        "{} MB of der: loaded in {took:?}, {} KiB more resident",
        document.bytes.len() / 1_000_000,
        after - before
    );
    let device = lab.device("d-1");
    let verifier = crate::DeviceVerifier::new(trust, None);
    let began = std::time::Instant::now();
    let device = verifier.identify(&device.chain(), now()).unwrap();
    println!("verified in {:?}", began.elapsed());
    let trust = verifier.trust();
    let began = std::time::Instant::now();
    for _ in 0..100_000 {
        trust.recheck(&device, now()).unwrap();
    }
    println!("rechecked in {:?} each", began.elapsed() / 100_000);
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
