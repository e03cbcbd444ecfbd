//! Who comes with the token of an identity provider, and what may they?

use std::time::Duration;

use lab::provider::Provider;
use lab::{Fleet, Role};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://control.example";

async fn fleet(provider: &Provider) -> Fleet {
    let builder = Fleet::builder().gateways(0).control(|settings| {
        settings.set("oidc.issuer", ISSUER).set("oidc.audience", AUDIENCE);
        settings.set("oidc.jwks", provider.jwks()).set("oidc.ca", provider.ca().display().to_string());
        settings.set("oidc.algorithms", vec!["EdDSA"]).set("oidc.leeway", "5s");
        settings.set("oidc.role_claim", "access.portcullis");
        settings.set("oidc.roles.reader", "viewer").set("oidc.roles.on-call", "revoker");
    });
    builder.start().await
}

/// What an access token claims, good for a minute.
fn claims(roles: Value) -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": ISSUER, "aud": [AUDIENCE, "another"], "sub": "u-17", "email": "carol@example.com",
        "iat": now, "exp": now + 60, "access": {"portcullis": roles},
    })
}

async fn reads(fleet: &Fleet, token: &str) -> u16 {
    fleet.api_with(token).get("/api/v1/gateways").await.expect("an answer").status
}

async fn revokes(fleet: &Fleet, token: &str) -> u16 {
    let order = json!({"device": "device-1", "reason": "for the test"});
    fleet.api_with(token).order(&order, Duration::ZERO).await.expect("an answer").status
}

#[tokio::test]
async fn the_role_claim_of_a_token_says_what_its_holder_may_do() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider).await;
    for (roles, read, revoked) in [
        (json!("reader"), 200, 403),
        (json!(["on-call"]), 200, 200),
        (json!(["reader", "on-call", "something else"]), 200, 200),
        (json!("something else"), 403, 403),
        (json!([]), 403, 403),
        // The provider's own words mean nothing but what the settings say.
        (json!(["admin", "revoker"]), 403, 403),
    ] {
        let token = provider.token("at+jwt", &claims(roles.clone()));
        assert_eq!((reads(&fleet, &token).await, revokes(&fleet, &token).await), (read, revoked), "{roles}");
    }
    let mut elsewhere = claims(json!("reader"));
    elsewhere["roles"] = json!("on-call");
    assert_eq!(revokes(&fleet, &provider.token("at+jwt", &elsewhere)).await, 403);
    // Its keys were fetched once, over HTTPS, and tokens of the file go on to count.
    assert_eq!(provider.fetches(), 1);
    assert_eq!(reads(&fleet, fleet.tokens.of(Role::Viewer)).await, 200);
    let listed = fleet.revocations().await;
    assert_eq!(listed.len(), 1, "the same order again is the same revocation");
    let by = listed[0]["by"].as_str().expect("somebody");
    assert!(by.contains("u-17") || by.contains("carol"), "{by}");
}

#[tokio::test]
async fn a_token_that_is_not_the_providers_or_not_for_us_lets_nobody_in() {
    let provider = Provider::start().await;
    let fleet = fleet(&provider).await;
    let stranger = Provider::start().await;
    let now = jiff::Timestamp::now().as_second();
    let with = |key: &str, value: Value| {
        let mut claims = claims(json!("reader"));
        claims[key] = value;
        provider.token("at+jwt", &claims)
    };
    let good = claims(json!("reader"));
    let unsigned = provider.signed(&json!({"alg": "none", "kid": "key-1"}), &good);
    let (head_and_claims, _) = unsigned.rsplit_once('.').expect("three parts");
    for (what, token) in [
        ("another audience", with("aud", json!("https://elsewhere.example"))),
        ("another issuer", with("iss", json!("https://idp.example/"))),
        ("expired, by more than the leeway", with("exp", json!(now - 10))),
        ("not yet", with("nbf", json!(now + 60))),
        ("without an end", with("exp", Value::Null)),
        ("another algorithm", provider.signed(&json!({"alg": "ES256", "kid": "key-1"}), &good)),
        ("a secret in place of a key", provider.signed(&json!({"alg": "HS256", "kid": "key-1"}), &good)),
        ("no algorithm", unsigned.clone()),
        ("no signature", format!("{head_and_claims}.")),
        ("a signal", provider.token("secevent+jwt", &good)),
        ("another's key", stranger.token("at+jwt", &good)),
    ] {
        assert_eq!(reads(&fleet, &token).await, 401, "{what}");
    }
    assert_eq!(reads(&fleet, &with("exp", json!(now - 2))).await, 200, "within the leeway");
    assert_eq!(reads(&fleet, &provider.token("at+jwt", &good)).await, 200);
}
