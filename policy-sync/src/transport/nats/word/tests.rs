use super::*;
use crate::keys::{KeyId, TrustedKey};

const NOW: u64 = 1_700_000_000_000_000;

fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

fn ring(keys: &[(&SigningKey, Role)]) -> KeyRing {
    let mut ring = KeyRing::default();
    for (key, role) in keys {
        ring.add(TrustedKey::new(key.id().clone(), key.public(), &[*role])).unwrap();
    }
    ring
}

fn reported(gateway: &str, at_us: u64) -> Reported {
    Reported { gateway: gateway.into(), connection: 1, at_us, report: Report::default() }
}

fn asked() -> Asked {
    let request = LeaseRequest {
        device: "device-1".into(),
        agent: "cowork-v1.0".into(),
        rule: None,
        issued_at: 1,
        account: 1,
        granted: 0,
        returned: 0,
        want: 1,
        closes: false,
    };
    Asked { gateway: "gw-1".into(), at_us: NOW, nonce: "n-1".into(), request }
}

#[test]
fn a_word_counts_from_the_key_of_its_gateway_under_its_name_and_in_time() {
    let (own, other, author, stranger) = (key("gw-1"), key("gw-2"), key("author-1"), key("gw-1"));
    let ring = ring(&[(&own, Role::Gateway), (&other, Role::Gateway), (&author, Role::Author)]);
    let judge = |key: &SigningKey, word: &Reported, under: &str| {
        heard::<Reported>(&seal(PayloadType::Report, word, key), under, NOW, &ring).err()
    };
    let word = reported("gw-1", NOW);
    assert_eq!(judge(&own, &word, "gw-1"), None);
    assert_eq!(judge(&own, &reported("gw-1", NOW - APART), "gw-1"), None);
    assert_eq!(judge(&own, &reported("gw-1", NOW - APART - 1), "gw-1"), Some(Refused::Untimely));
    assert_eq!(judge(&own, &reported("gw-1", NOW + APART + 1), "gw-1"), Some(Refused::Untimely));
    assert_eq!(judge(&own, &word, "gw-2"), Some(Refused::Misplaced));
    for forger in [&other, &author, &stranger] {
        assert_eq!(judge(forger, &word, "gw-1"), Some(Refused::Forged), "{forger:?}");
    }
    // A key of another role that has the gateway's name.
    assert_eq!(judge(&author, &reported("author-1", NOW), "author-1"), Some(Refused::Forged));
}

#[test]
fn a_question_does_not_pass_for_a_report_nor_a_question_for_an_answer() {
    let (own, control) = (key("gw-1"), key("control-1"));
    let ring = ring(&[(&own, Role::Gateway), (&control, Role::Control)]);
    let question = seal(PayloadType::Lease, &asked(), &own);
    assert_eq!(heard::<Reported>(&question, "gw-1", NOW, &ring).err(), Some(Refused::Forged));
    assert_eq!(answered(&question, &asked(), &ring).err(), Some(Refused::Forged));
    let wrong = seal(PayloadType::Report, &asked(), &own);
    assert_eq!(heard::<Asked>(&wrong, "gw-1", NOW, &ring).err(), Some(Refused::Forged));
    assert_eq!(heard::<Asked>(b"{}", "gw-1", NOW, &ring).err(), Some(Refused::Malformed));
    let odd = Envelope::sign(PayloadType::Lease, br#"{"gateway":"gw-1","more":1}"#.to_vec(), &own).to_json();
    assert_eq!(heard::<Asked>(&odd, "gw-1", NOW, &ring).err(), Some(Refused::Malformed));
}

#[test]
fn an_answer_counts_for_the_question_it_repeats() {
    let (own, control, forger) = (key("gw-1"), key("control-1"), key("control-1"));
    let ring = ring(&[(&own, Role::Gateway), (&control, Role::Control)]);
    let answer = Answered {
        gateway: "gw-1".into(),
        nonce: "n-1".into(),
        answer: Some(LeaseAnswer { granted: Some(5), left: None }),
        fault: None,
    };
    let judge = |answer: &Answered, key: &SigningKey| {
        answered(&seal(PayloadType::Lease, answer, key), &asked(), &ring)
    };
    assert_eq!(judge(&answer, &control).as_ref(), Ok(&answer));
    assert_eq!(judge(&answer, &forger).err(), Some(Refused::Forged));
    let other = Answered { nonce: "n-0".into(), ..answer.clone() };
    assert_eq!(judge(&other, &control).err(), Some(Refused::Replayed));
    let other = Answered { gateway: "gw-2".into(), ..answer };
    assert_eq!(judge(&other, &control).err(), Some(Refused::Misplaced));
}
