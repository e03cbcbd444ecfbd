//! What an identity provider or a device management system signals, and what becomes of it.

use lab::provider::Provider;
use lab::settings::Settings;
use lab::{Answer, Fleet, Wire};
use serde_json::{Value, json};
use toml::Value as Toml;

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://control.example/signals";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn toml(text: &str) -> Toml {
    let table: toml::Table = format!("value = {text}").parse().expect("TOML");
    table["value"].clone()
}

/// The settings of a transmitter, with what a test changes.
fn transmitter(settings: &mut Settings, provider: &Provider, change: &[(&str, Toml)]) {
    let mut keys = vec![
        ("signals.name", Toml::from("idp")),
        ("signals.issuer", ISSUER.into()),
        ("signals.audience", AUDIENCE.into()),
        ("signals.jwks", provider.jwks().into()),
        ("signals.ca", provider.ca().display().to_string().into()),
        ("signals.algorithms", toml(r#"["EdDSA"]"#)),
        (
            "signals.subjects",
            toml(r#"[{ format = "email", to = "user" }, { format = "opaque", to = "device" }]"#),
        ),
        ("signals.events", toml(r#"{ session-revoked = ["user"] }"#)),
    ];
    keys.extend(change.iter().cloned());
    settings.entry("signals", &keys);
}

async fn fleet(provider: &Provider, change: &[(&str, Toml)]) -> Fleet {
    let builder = Fleet::builder().gateways(0).control(|settings| transmitter(settings, provider, change));
    builder.start().await
}

/// What a token claims that was issued just now.
fn claims(jti: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": jiff::Timestamp::now().as_second(), "jti": jti,
        "sub_id": {"format": "email", "email": "alice@example.com"}, "events": {SESSION_REVOKED: {}},
    })
}

/// Delivers a token as RFC 8935 says, with these further fields.
async fn deliver(fleet: &Fleet, fields: &str, token: &str) -> Answer {
    let api = fleet.api_with("pct_nobody");
    let mut wire: Wire = api.wire().await.expect("a connection");
    let length = token.len();
    let request = format!(
        "POST /api/v1/signals HTTP/1.1\r\nHost: control.example\r\nContent-Type: application/secevent+jwt\r\n\
         {fields}Content-Length: {length}\r\n\r\n{token}"
    );
    wire.ask(request).await.expect("an answer")
}

async fn signal(fleet: &Fleet, provider: &Provider, claims: &Value) -> u16 {
    deliver(fleet, "", &provider.token("secevent+jwt", claims)).await.status
}

/// The users and devices that are revoked and not lifted.
async fn revoked(fleet: &Fleet) -> Vec<String> {
    let listed = fleet.revocations().await;
    let in_force = listed.iter().filter(|one| one["lifted"].is_null());
    in_force.map(|one| one["target"].to_string()).collect()
}

#[tokio::test]
async fn a_signal_revokes_whom_it_names_and_a_stranger_or_a_bent_one_nobody() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider, &[]).await;
    let stranger = Provider::start().await;
    let with = |key: &str, value: Value| {
        let mut claims = claims("bent");
        claims[key] = value;
        claims
    };
    for (what, token) in [
        ("another issuer", provider.token("secevent+jwt", &with("iss", json!("https://other.example")))),
        ("another audience", provider.token("secevent+jwt", &with("aud", json!("https://other.example")))),
        ("another's key", stranger.token("secevent+jwt", &claims("bent"))),
        ("an access token", provider.token("at+jwt", &claims("bent"))),
        (
            "another algorithm",
            provider.signed(&json!({"alg": "ES256", "kid": "key-1", "typ": "secevent+jwt"}), &claims("bent")),
        ),
    ] {
        assert_eq!(deliver(&fleet, "", &token).await.status, 400, "{what}");
    }
    // A subject that nothing maps, and an event that withdraws nothing, are taken without effect.
    let unmapped = with("sub_id", json!({"format": "phone_number", "phone_number": "+1"}));
    let unknown = with("events", json!({"https://schemas.example/other": {}}));
    for harmless in [unmapped, unknown] {
        assert_eq!(signal(&fleet, &provider, &harmless).await, 202);
    }
    assert_eq!(revoked(&fleet).await, Vec::<String>::new());
    assert_eq!(signal(&fleet, &provider, &claims("one")).await, 202);
    let revoked = revoked(&fleet).await;
    assert!(revoked.len() == 1 && revoked[0].contains("alice@example.com"), "{revoked:?}");
}

#[tokio::test]
async fn a_transmitter_has_to_carry_what_was_agreed_to_be_young_and_not_too_fast() {
    let provider = Provider::start().await;
    let agreed = "Bearer agreed";
    let settings = [
        ("signals.authorization_sha256", Toml::from(lab::fleet::api::digest(agreed))),
        ("signals.max_age", "60s".into()),
        ("signals.tokens_per_second", 1.into()),
        ("signals.burst", 2.into()),
    ];
    let fleet = fleet(&provider, &settings).await;
    let token = |claims: &Value| provider.token("secevent+jwt", claims);
    assert_eq!(deliver(&fleet, "", &token(&claims("one"))).await.status, 400);
    assert_eq!(deliver(&fleet, "Authorization: Bearer other\r\n", &token(&claims("one"))).await.status, 400);
    let authorized = format!("Authorization: {agreed}\r\n");
    let mut old = claims("old");
    old["iat"] = json!(jiff::Timestamp::now().as_second() - 61);
    assert_eq!(deliver(&fleet, &authorized, &token(&old)).await.status, 400);
    let mut statuses = Vec::new();
    for number in 0..6 {
        let taken = deliver(&fleet, &authorized, &token(&claims(&format!("n-{number}")))).await;
        if taken.status == 429 {
            assert!(taken.field("retry-after").is_some(), "{taken:?}");
        }
        statuses.push(taken.status);
    }
    assert!(statuses.starts_with(&[202, 202]) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_signal_that_comes_again_after_a_restart_does_not_undo_a_lifting() {
    let provider = Provider::start().await;
    let mut fleet = fleet(&provider, &[]).await;
    let token = provider.token("secevent+jwt", &claims("one"));
    assert_eq!(deliver(&fleet, "", &token).await.status, 202);
    let listed = fleet.revocations().await;
    fleet.lift(listed[0]["sequence"].as_u64().expect("a sequence")).await;
    for crash in [false, true] {
        if crash {
            fleet.crash_control();
        } else {
            fleet.stop_control().await;
        }
        fleet.start_control().await;
        assert_eq!(deliver(&fleet, "", &token).await.status, 202, "it is acknowledged again");
        assert_eq!(revoked(&fleet).await, Vec::<String>::new());
    }
    // A new signal about the same user counts.
    assert_eq!(signal(&fleet, &provider, &claims("two")).await, 202);
    assert_eq!(revoked(&fleet).await.len(), 1);
}
