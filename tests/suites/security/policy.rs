//! Signed policy: forged, rolled back, redirected or malformed, it authorizes nothing.

use lab::keys::key;
use lab::policy::{signed_manifest, signed_revocation};
use lab::{Behaviour, Capture, Draft, Lab};
use policy_sync::{Envelope, PayloadType, Target};

async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    (origin, lab)
}

async fn refused(lab: &Lab, count: usize) {
    lab::eventually(lab::wait::PATIENCE, "the manifest is refused", async || {
        (lab.events().of("control.manifest_refused").len() >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_right_keys_make_a_manifest() {
    let (origin, lab) = setup().await;
    let draft = Draft::of("device-2").raw(&origin.destination());
    let issued = lab.policy.next_issue();
    let good = String::from_utf8(signed_manifest(&draft, issued, lab.policy.author())).expect("JSON");
    let parsed: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut envelope = parsed.clone();
        change(&mut envelope);
        envelope.to_string().into_bytes()
    };
    let other = signed_manifest(&draft.clone().raw("elsewhere.test:1"), issued, lab.policy.author());
    let other: serde_json::Value = serde_json::from_slice(&other).expect("JSON");
    let impostor = key("author-1");
    let wrong_type = Envelope::sign(PayloadType::Revocation, draft.bytes(), lab.policy.author()).to_json();
    let table = [
        ("a key nobody knows", signed_manifest(&draft, issued, &key("stranger"))),
        ("a stranger's key under a known name", signed_manifest(&draft, issued, &impostor)),
        ("a key of another role", signed_manifest(&draft, issued, lab.policy.revoker())),
        ("no signature", with(&|envelope| envelope["signatures"] = serde_json::json!([]))),
        (
            "another payload under the signature",
            with(&|envelope| envelope["payload"] = other["payload"].clone()),
        ),
        (
            "another payload type",
            with(&|envelope| {
                envelope["payloadType"] = "application/vnd.portcullis.revocation.v1+json".into();
            }),
        ),
        ("a signature over another type", wrong_type),
        ("an empty signature", with(&|envelope| envelope["signatures"][0]["sig"] = "".into())),
        (
            "a signature of zeros",
            with(&|envelope| {
                let zeros = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [0; 64]);
                envelope["signatures"][0]["sig"] = zeros.into();
            }),
        ),
        ("an unknown field", with(&|envelope| envelope["alg"] = "none".into())),
        ("trailing data", format!("{good}{{}}").into_bytes()),
        ("no JSON", b"not json".to_vec()),
        ("nothing", Vec::new()),
    ];
    for (number, (what, envelope)) in table.into_iter().enumerate() {
        lab.policy.put_manifest(&format!("forged-{number}"), &envelope);
        lab::eventually(lab::wait::PATIENCE, &format!("{what} is refused"), async || {
            (lab.events().of("control.manifest_refused").len() > number).then_some(())
        })
        .await;
        let outcome = lab.device("device-2").refusal(&origin.destination()).await;
        assert_eq!(outcome.reason(), "no_manifest", "{what}");
    }
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"the good one stands").await;
    lab.push(&draft).await;
    lab.device("device-2").tunnel(&origin.destination()).await.echoes(b"and the right key works").await;
}

#[tokio::test]
async fn an_older_manifest_never_comes_back_even_after_a_restart() {
    let (wide, narrow) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let old = Draft::of("device-1").raw(&wide.destination()).raw(&narrow.destination());
    let new = Draft::of("device-1").raw(&narrow.destination());
    let mut lab = Lab::with(old.clone()).await;
    let old_envelope = std::fs::read(lab.policy.manifest_path("cm-device-1")).expect("the envelope");
    lab.device("device-1").tunnel(&wide.destination()).await.echoes(b"before").await;
    lab.push(&new).await;
    assert_eq!(lab.device("device-1").refusal(&wide.destination()).await.reason(), "destination_not_listed");
    lab.policy.put_manifest("cm-device-1", &old_envelope);
    refused(&lab, 1).await;
    let answer = lab.device("device-1").connect(&wide.destination()).await.expect("an answer");
    assert!(answer.is_err(), "the replayed one does not authorize");
    lab.crash_and_restart().await;
    let answer = lab.device("device-1").connect(&wide.destination()).await.expect("an answer");
    assert!(answer.is_err(), "nor after a restart");
}

#[tokio::test]
async fn payloads_that_are_not_exactly_a_manifest_are_refused() {
    let (origin, lab) = setup().await;
    let sign =
        |payload: Vec<u8>| Envelope::sign(PayloadType::Manifest, payload, lab.policy.author()).to_json();
    let issued = "\"issued_at\":\"2026-01-17T12:40:00Z\"";
    let base = Draft::of("device-2").raw(&origin.destination()).0.to_string();
    let text = |change: &dyn Fn(&str) -> String| sign(change(&base).into_bytes());
    let deep = format!("{{\"id\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let table = [
        ("no issue date", text(&str::to_owned)),
        ("an unknown field", text(&|base| base.replacen('{', &format!("{{{issued},\"extra\":1,"), 1))),
        ("a key twice", text(&|base| base.replacen('{', &format!("{{{issued},\"id\":\"cm-other\","), 1))),
        (
            "a key twice by an escape",
            text(&|base| base.replacen('{', &format!("{{{issued},\"\\u0069d\":\"cm-other\","), 1)),
        ),
        ("data behind", text(&|base| format!("{}{{}}", base.replacen('{', &format!("{{{issued},"), 1)))),
        (
            "a byte order mark",
            text(&|base| format!("\u{feff}{}", base.replacen('{', &format!("{{{issued},"), 1))),
        ),
        ("NaN", text(&|base| base.replacen('{', &format!("{{{issued},"), 1).replace("3600", "NaN"))),
        (
            "a negative life",
            text(&|base| base.replacen('{', &format!("{{{issued},"), 1).replace("3600", "-1")),
        ),
        (
            "a life of 1e3",
            text(&|base| base.replacen('{', &format!("{{{issued},"), 1).replace("3600", "1e3")),
        ),
        ("too deep", sign(deep.into_bytes())),
        (
            "too long",
            text(&|base| base.replacen('{', &format!("{{{issued},\"role\":\"{}\",", "r".repeat(1 << 20)), 1)),
        ),
        ("no object", sign(b"[]".to_vec())),
    ];
    for (number, (what, envelope)) in table.into_iter().enumerate() {
        lab.policy.put_manifest(&format!("odd-{number}"), &envelope);
        lab::eventually(lab::wait::PATIENCE, &format!("{what} is refused"), async || {
            (lab.events().of("control.manifest_refused").len() > number).then_some(())
        })
        .await;
    }
    assert_eq!(lab.device("device-2").refusal(&origin.destination()).await.reason(), "no_manifest");
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"the others stand").await;
}

#[tokio::test]
async fn a_revocation_needs_a_revoker_and_outlives_its_file() {
    let (origin, mut lab) = setup().await;
    let target = || Target::Device("device-1".parse().expect("an id"));
    for signer in [key("stranger"), key("revoker-1")] {
        let seen = lab.events().of("control.revocation_refused").len();
        lab.policy.put_statement(&signed_revocation(target(), &signer).to_json());
        lab::eventually(lab::wait::PATIENCE, "the revocation is refused", async || {
            (lab.events().of("control.revocation_refused").len() > seen).then_some(())
        })
        .await;
    }
    let by_author = signed_revocation(target(), lab.policy.author()).to_json();
    let seen = lab.events().of("control.revocation_refused").len();
    lab.policy.put_statement(&by_author);
    lab::eventually(lab::wait::PATIENCE, "the author's revocation is refused", async || {
        (lab.events().of("control.revocation_refused").len() > seen).then_some(())
    })
    .await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"not revoked").await;

    lab.revoke(target()).await;
    let outcome = lab.device("device-1").connect(&origin.destination()).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "revoked");
    std::fs::remove_dir_all(lab.policy.path().join("revocations")).expect("removed");
    std::fs::create_dir(lab.policy.path().join("revocations")).expect("made again");
    lab.crash_and_restart().await;
    let outcome = lab.device("device-1").connect(&origin.destination()).await;
    assert!(!matches!(outcome, Ok(Ok(_))), "a revocation does not end with its file");
}

#[tokio::test]
async fn a_life_longer_than_the_gateway_permits_is_cut_short_or_refused() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("policy.max_ttl", "2s");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()).ttl(86_400))
        .start()
        .await;
    lab::eventually(lab::wait::PATIENCE, "the capped life ends", async || {
        let outcome = lab.device("device-1").connect(&origin.destination()).await.ok()?;
        outcome
            .err()
            .filter(|refused| ["manifest_expired", "no_manifest"].contains(&refused.reason().as_str()))
    })
    .await;
}

#[tokio::test]
async fn a_manifest_that_needs_approval_counts_only_with_every_signature() {
    let origin = Capture::start(Behaviour::Echo).await;
    let approval: toml::Table =
        "x = [{ agent = \"*\", roles = [\"approver\", \"security\"] }]".parse().expect("TOML");
    let (lab, outcome) = Lab::builder()
        .settings(|settings| {
            settings.set("policy.approval", approval["x"].clone());
        })
        .try_start(|_| {})
        .await;
    outcome.unwrap_or_else(|status| panic!("{status:?}\n{}", lab.log()));
    let (approver, security) = (lab.policy.approver(), lab.policy.security());
    let draft = Draft::of("device-1").raw(&origin.destination());
    let alone = signed_manifest(&draft, lab.policy.next_issue(), lab.policy.author());
    let sign_also = |envelope: &[u8], keys: &[&policy_sync::SigningKey]| {
        let mut envelope = Envelope::read(envelope).expect("an envelope");
        keys.iter().for_each(|key| envelope.add_signature(key));
        envelope.to_json()
    };
    let table = [
        ("the author alone", alone.clone(), false),
        ("the approver besides", sign_also(&alone, &[approver]), false),
        ("the approver and a stranger", sign_also(&alone, &[approver, &key("stranger")]), false),
        ("all three", sign_also(&alone, &[approver, security]), true),
    ];
    for (number, (what, envelope, allowed)) in table.into_iter().enumerate() {
        lab.policy.put_manifest("cm-device-1", &envelope);
        if allowed {
            lab.event("accepted", |event| event["event_type"] == "control.manifest_accepted").await;
        } else {
            refused(&lab, number + 1).await;
        }
        let outcome = lab.device("device-1").connect(&origin.destination()).await.expect("an answer");
        assert_eq!(outcome.is_ok(), allowed, "{what}");
    }
}
