//! Envelopes that are forged, mutated, replayed as another kind, or malformed.

use proptest::prelude::*;

use super::*;
use crate::keys::{Role, TrustedKey};

fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

fn ring(keys: &[&SigningKey]) -> KeyRing {
    let mut ring = KeyRing::default();
    for key in keys {
        ring.add(TrustedKey::new(key.id().clone(), key.public(), &[Role::Author])).unwrap();
    }
    ring
}

fn signed(key: &SigningKey) -> Envelope {
    Envelope::sign(PayloadType::Manifest, b"{\"a\":1}".to_vec(), key)
}

#[test]
fn the_encoding_that_is_signed_is_the_one_of_the_standard() {
    let encoding = pre_authentication_encoding(PayloadType::Manifest, b"{\"a\":1}");
    assert_eq!(encoding, b"DSSEv1 43 application/vnd.portcullis.manifest.v1+json 7 {\"a\":1}");
}

#[test]
fn a_signed_payload_comes_back_byte_for_byte() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut envelope = signed(&alice);
    envelope.add_signature(&bob);
    let read = Envelope::read(&envelope.to_json()).unwrap();
    let verified = read.verify(PayloadType::Manifest, &ring(&[&alice, &bob])).unwrap();
    assert_eq!(verified.payload, b"{\"a\":1}");
    assert_eq!(verified.signers, [alice.id().clone(), bob.id().clone()]);
}

#[test]
fn unknown_keys_are_ignored_and_count_for_nothing() {
    let (alice, mallory) = (key("alice"), key("mallory"));
    let mut envelope = signed(&mallory);
    let verify = |envelope: &Envelope| {
        envelope.verify(PayloadType::Manifest, &ring(&[&alice])).map(|verified| verified.signers)
    };
    assert_eq!(verify(&envelope), Err(EnvelopeFault::NoKnownKey));
    envelope.add_signature(&alice);
    assert_eq!(verify(&envelope), Ok(vec![alice.id().clone()]));
}

#[test]
fn the_same_key_twice_is_one_signer() {
    let alice = key("alice");
    let mut envelope = signed(&alice);
    let again = envelope.signatures[0].clone();
    envelope.signatures.push(again);
    let verified = envelope.verify(PayloadType::Manifest, &ring(&[&alice])).unwrap();
    assert_eq!(verified.signers.len(), 1);
}

#[test]
fn another_key_under_a_known_name_is_refused() {
    let (alice, impostor) = (key("alice"), key("alice"));
    let fault = signed(&impostor).verify(PayloadType::Manifest, &ring(&[&alice])).unwrap_err();
    assert_eq!(fault, EnvelopeFault::BadSignature(alice.id().clone()));
}

#[test]
fn one_kind_of_payload_never_passes_for_another() {
    let revoker = key("revoker");
    let mut envelope = Envelope::sign(PayloadType::Revocation, b"{}".to_vec(), &revoker);
    let ring = ring(&[&revoker]);
    assert_eq!(envelope.verify(PayloadType::Manifest, &ring), Err(EnvelopeFault::PayloadType));
    envelope.payload_type = PayloadType::Manifest;
    let fault = envelope.verify(PayloadType::Manifest, &ring).unwrap_err();
    assert_eq!(fault, EnvelopeFault::BadSignature(revoker.id().clone()));
}

#[test]
fn a_malleable_signature_does_not_hold() {
    let alice = key("alice");
    let mut envelope = signed(&alice);
    // S + L is the same number modulo the group order, and accepted by lax verifiers.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = envelope.signatures[0].1.to_bytes();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    envelope.signatures[0].1 = Signature::from_bytes(&bytes);
    assert!(envelope.verify(PayloadType::Manifest, &ring(&[&alice])).is_err());
}

#[test]
fn a_null_signature_and_one_with_a_small_order_point_do_not_hold() {
    let alice = key("alice");
    let mut identity = [0; 64];
    identity[0] = 1;
    for bytes in [[0; 64], identity] {
        let mut envelope = signed(&alice);
        envelope.signatures[0].1 = Signature::from_bytes(&bytes);
        assert!(envelope.verify(PayloadType::Manifest, &ring(&[&alice])).is_err());
    }
}

#[test]
fn anything_but_the_exact_object_is_refused() {
    let alice = key("alice");
    let good = String::from_utf8(signed(&alice).to_json()).unwrap();
    assert!(Envelope::read(good.as_bytes()).is_ok());
    let payload_type = PayloadType::Manifest.as_str();
    let one = good.split("\"signatures\":[").nth(1).unwrap().trim_end_matches("]}").to_owned();
    let many = vec![one.as_str(); MOST_SIGNATURES + 1].join(",");
    for bad in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        format!("{good} x"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        good.replacen('{', "{\"extra\":1,", 1),
        good.replacen('{', &format!("{{\"payloadType\":\"{payload_type}\","), 1),
        good.replacen('{', &format!("{{\"pay\\u006coadType\":\"{payload_type}\","), 1),
        good.replace("manifest.v1", "manifest.v2"),
        good.replace("payloadType", "PayloadType"),
        good.replacen("\"payload\":\"", "\"payload\":\"!", 1),
        good.replace("\"keyid\":\"alice\"", "\"keyid\":null"),
        format!("{{\"payloadType\":\"{payload_type}\",\"payload\":\"\",\"signatures\":[]}}"),
        format!(
            "{{\"payloadType\":\"{payload_type}\",\"payload\":\"\",\"signatures\":[{{\"keyid\":\"alice\",\"sig\":\"\"}}]}}"
        ),
        format!("{{\"payloadType\":\"{payload_type}\",\"payload\":\"\",\"signatures\":[{many}]}}"),
        "[".repeat(100_000),
        " ".repeat(LARGEST_ENVELOPE + 1),
    ] {
        assert!(Envelope::read(bad.as_bytes()).is_err(), "{}", bad.chars().take(200).collect::<String>());
    }
}

#[test]
fn a_payload_over_the_limit_is_refused_although_it_is_signed() {
    let envelope = Envelope::sign(PayloadType::Manifest, vec![b' '; LARGEST_PAYLOAD + 1], &key("alice"));
    assert_eq!(Envelope::read(&envelope.to_json()), Err(EnvelopeFault::TooLarge));
}

proptest! {
    #[test]
    fn no_changed_byte_survives_verification(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let alice = key("alice");
        let mut json = signed(&alice).to_json();
        let at = at.index(json.len());
        prop_assume!(json[at] != to);
        json[at] = to;
        if let Ok(envelope) = Envelope::read(&json)
            && let Ok(verified) = envelope.verify(PayloadType::Manifest, &ring(&[&alice]))
        {
            // Only spellings of the same bytes may get here.
            prop_assert_eq!(verified.payload, b"{\"a\":1}");
        }
    }
}
