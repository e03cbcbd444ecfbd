//! Rings, their files, and private key files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn id(name: &str) -> KeyId {
    KeyId::new(name).unwrap()
}

fn key(name: &str) -> SigningKey {
    SigningKey::generate(id(name)).unwrap()
}

/// The canonical points of small order, and one spelled with a coordinate over the field's size.
const WEAK: [&str; 6] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

#[test]
fn weak_keys_and_bytes_off_the_curve_never_enter_a_ring() {
    for hex in WEAK {
        let text = STANDARD.encode(crate::target::from_hex(hex).unwrap());
        assert_eq!(PublicKey::parse(&text), Err(MalformedPublicKey::Weak), "{hex}");
    }
    let mut off_the_curve = [0; 32];
    off_the_curve[0] = 2;
    assert_eq!(PublicKey::parse(&STANDARD.encode(off_the_curve)), Err(MalformedPublicKey::Point));
    for text in ["", "AAAA", "not base64!", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert_eq!(PublicKey::parse(text), Err(MalformedPublicKey::Encoding), "{text:?}");
    }
}

#[test]
fn a_public_key_reads_back_from_both_of_its_spellings() {
    let public = key("alice").public();
    assert_eq!(PublicKey::parse(&public.to_base64()), Ok(public.clone()));
    assert_eq!(PublicKey::parse(&public.to_pem()), Ok(public));
}

#[test]
fn one_key_under_two_names_is_refused_so_that_it_cannot_count_twice() {
    let alice = key("alice");
    let mut ring = KeyRing::default();
    ring.add(TrustedKey::new(id("alice"), alice.public(), &[Role::Author])).unwrap();
    let again = ring.add(TrustedKey::new(id("bob"), alice.public(), &[Role::Approver]));
    assert_eq!(again, Err(DuplicateKey::Key(id("alice"))));
    let renamed = ring.add(TrustedKey::new(id("alice"), key("x").public(), &[Role::Approver]));
    assert_eq!(renamed, Err(DuplicateKey::Name(id("alice"))));
}

#[test]
fn every_role_needs_a_key_of_its_own() {
    use Role::{Approver, Author, Security};
    let mut ring = KeyRing::default();
    for (name, roles) in [
        ("a", vec![Author]),
        ("b", vec![Author, Approver]),
        ("c", vec![Approver, Security]),
        ("d", vec![Security]),
    ] {
        ring.add(TrustedKey::new(id(name), key(name).public(), &roles)).unwrap();
    }
    for (signers, roles, expected) in [
        (vec![], vec![], true),
        (vec![], vec![Author], false),
        (vec!["a"], vec![Author], true),
        (vec!["d"], vec![Author], false),
        (vec!["b"], vec![Author, Approver], false),
        (vec!["b", "b"], vec![Author], true),
        (vec!["b", "a"], vec![Author, Approver], true),
        (vec!["b", "c"], vec![Author, Approver], true),
        (vec!["c", "b"], vec![Author, Approver, Security], false),
        (vec!["b", "c", "a"], vec![Author, Approver, Security], true),
        (vec!["unknown", "a"], vec![Author], true),
    ] {
        let signers: Vec<_> = signers.into_iter().map(id).collect();
        assert_eq!(ring.cover(&signers, &roles), expected, "{signers:?} for {roles:?}");
    }
}

#[test]
fn a_ring_file_reads_back() {
    let (alice, bob) = (key("alice"), key("bob"));
    let text = format!(
        "[[keys]]\nid = \"alice\"\npublic = \"{}\"\nroles = [\"author\"]\n\n[[keys]]\nid = \"bob\"\npublic = '''\n{}'''\nroles = [\"approver\", \"revoker\"]\n",
        alice.public().to_base64(),
        bob.public().to_pem(),
    );
    let ring = KeyRing::parse("keys.toml", &text).unwrap();
    assert_eq!(ring.key("alice").unwrap().public(), &alice.public());
    assert_eq!(ring.key("bob").unwrap().roles(), [Role::Approver, Role::Revoker]);
    assert_eq!(ring.keys().count(), 2);
}

#[test]
fn every_problem_of_a_ring_file_is_reported_with_its_place() {
    let weak = STANDARD.encode([0; 32]);
    let good = key("x").public().to_base64();
    let text = format!(
        "[[keys]]\nid = \"a b\"\npublic = \"{weak}\"\nroles = []\n\n[[keys]]\nid = \"x\"\npublic = \"{good}\"\nroles = [\"author\", \"author\", \"king\"]\n\n[[keys]]\nid = \"y\"\npublic = \"{good}\"\nroles = [\"author\"]\n"
    );
    let problems = KeyRing::parse("keys.toml", &text).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| (problem.line, problem.path.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "keys[0].id"),
            (3, "keys[0].public"),
            (4, "keys[0].roles"),
            (9, "keys[1].roles[1]"),
            (9, "keys[1].roles[2]"),
            (12, "keys[2]"),
        ]
    );
}

#[test]
fn a_ring_file_of_another_shape_gives_no_ring() {
    for text in [
        "",
        "keys = 1",
        "[[keys]]\nid = \"a\"",
        "[[keys]]\nid = \"a\"\nid = \"a\"",
        "[[kys]]",
        "\u{0}",
        "key = [",
    ] {
        let problems = KeyRing::parse("keys.toml", text).unwrap_err();
        assert!(problems.to_string().starts_with("keys.toml"), "{problems}");
    }
}

#[test]
fn a_private_key_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("alice.key");
    let alice = key("alice");
    alice.write(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SigningKey::read(id("alice"), &path).unwrap().public(), alice.public());
    assert!(matches!(alice.write(&path), Err(SigningKeyFault::File { .. })), "it is never overwritten");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SigningKey::read(id("alice"), &path), Err(SigningKeyFault::Exposed { .. })));
    assert_eq!(format!("{alice:?}"), "SigningKey { id: \"alice\", .. }");
}

#[test]
fn a_file_that_is_no_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.key");
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(SigningKey::read(id("x"), &path), Err(SigningKeyFault::Malformed { .. })));
}
