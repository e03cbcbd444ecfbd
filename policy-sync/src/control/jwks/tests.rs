//! Tokens against keys from files and from a real HTTPS server.

use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::control::testing::{Issuer, PublishedKeys};

fn algorithms(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn from_file(issuer: &Issuer, names: &[&str]) -> (tempfile::TempDir, Jwks) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, issuer.jwks().to_string()).unwrap();
    let keys = Jwks::new(path.to_str().unwrap(), None, &algorithms(names)).unwrap();
    (dir, keys)
}

#[test]
fn only_https_and_files_are_places_and_only_public_keys_are_algorithms() {
    for place in ["http://issuer.example/keys", "ftp://x", "https://", "https://user@issuer.example/"] {
        let fault = Jwks::new(place, None, &algorithms(&["ES256"])).unwrap_err();
        assert!(matches!(fault, JwksSettingsFault::Place(_)), "{place}: {fault}");
    }
    for name in ["HS256", "none", "es256", ""] {
        let fault = Jwks::new("keys.json", None, &algorithms(&[name])).unwrap_err();
        assert!(matches!(fault, JwksSettingsFault::Algorithm(_)), "{name}: {fault}");
    }
    assert!(matches!(Jwks::new("keys.json", None, &[]), Err(JwksSettingsFault::NoAlgorithm)));
}

#[tokio::test]
async fn a_token_counts_when_a_published_key_signed_it_with_an_allowed_algorithm() {
    let issuer = Issuer::new("key-1");
    let (_dir, keys) = from_file(&issuer, &["ES256"]);
    let token = issuer.sign(&json!({"sub": "alice"}), Some("secevent+jwt"));
    let signed: SignedToken<Value> = keys.verify(&token).await.unwrap();
    assert_eq!((signed.typ.as_deref(), &signed.claims["sub"]), (Some("secevent+jwt"), &json!("alice")));

    let (_dir, elsewhere) = from_file(&issuer, &["EdDSA", "RS256"]);
    assert_eq!(elsewhere.verify::<Value>(&token).await.unwrap_err(), TokenFault::Algorithm);
    let stranger = Issuer::new("key-2").sign(&json!({}), None);
    assert_eq!(keys.verify::<Value>(&stranger).await.unwrap_err(), TokenFault::UnknownKey);
    let forged = Issuer::new("key-1").sign(&json!({}), None);
    assert_eq!(keys.verify::<Value>(&forged).await.unwrap_err(), TokenFault::Signature);
}

#[tokio::test]
async fn tricks_with_the_header_do_not_help() {
    let issuer = Issuer::new("key-1");
    let (_dir, keys) = from_file(&issuer, &["ES256"]);
    let claims = json!({"sub": "mallory"});
    // The public key as the secret of an HMAC.
    let secret = EncodingKey::from_secret(issuer.jwks().to_string().as_bytes());
    let hmac = jsonwebtoken::encode(&Header::default(), &claims, &secret).unwrap();
    assert_eq!(keys.verify::<Value>(&hmac).await.unwrap_err(), TokenFault::Algorithm);
    let good = issuer.sign(&claims, None);
    let payload = good.split('.').nth(1).unwrap();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"ES256","kid":"key-1","crit":["b64"],"b64":false}"#,
        r#"{"kid":"key-1"}"#,
        "",
    ] {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let token = format!("{header}.{payload}.{}", good.split('.').nth(2).unwrap());
        assert!(keys.verify::<Value>(&token).await.is_err());
        assert!(keys.verify::<Value>(&format!("{header}.{payload}.")).await.is_err());
    }
    // A key that the token brings along.
    let mallory = Issuer::new("key-1");
    let own = mallory.sign_with_header(&claims, |header| {
        header.jwk = serde_json::from_value(mallory.jwks()["keys"][0].clone()).unwrap();
        header.jku = Some("https://mallory.example/keys".into());
    });
    assert_eq!(keys.verify::<Value>(&own).await.unwrap_err(), TokenFault::Signature);
    for token in ["", ".", "..", "a.b.c", &"x".repeat(LONGEST_TOKEN + 1)] {
        assert!(matches!(keys.verify::<Value>(token).await, Err(TokenFault::Malformed(_))), "{token:.20}");
    }
}

#[tokio::test]
async fn keys_that_are_not_for_signatures_or_for_another_algorithm_are_not_used() {
    let issuer = Issuer::new("key-1");
    let token = issuer.sign(&json!({}), None);
    for (field, value) in [("use", "enc"), ("alg", "ES384"), ("alg", "RSA-OAEP"), ("crv", "P-384")] {
        let mut set = issuer.jwks();
        set["keys"][0][field] = json!(value);
        set["keys"].as_array_mut().unwrap().push(Issuer::new("other").jwks()["keys"][0].clone());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, set.to_string()).unwrap();
        let keys = Jwks::new(path.to_str().unwrap(), None, &algorithms(&["ES256"])).unwrap();
        assert_eq!(
            keys.verify::<Value>(&token).await.unwrap_err(),
            TokenFault::UnknownKey,
            "{field} {value}"
        );
    }
}

#[tokio::test]
async fn keys_come_over_https_once_for_many_tokens_and_not_from_a_stranger() {
    let issuer = Issuer::new("key-1");
    let published = PublishedKeys::serve(&issuer).await;
    let keys = Jwks::new(&published.url(), Some(published.ca()), &algorithms(&["ES256"])).unwrap();
    let token = issuer.sign(&json!({"n": 1}), None);
    let asked = AtomicUsize::new(0);
    let many = (0..20).map(|_| async {
        keys.verify::<Value>(&token).await.unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
    });
    futures_util::future::join_all(many).await;
    assert_eq!((asked.into_inner(), published.fetches()), (20, 1));
    // A storm of tokens with unknown keys does not become a storm of fetches.
    let stranger = Issuer::new("key-9").sign(&json!({}), None);
    for _ in 0..20 {
        assert_eq!(keys.verify::<Value>(&stranger).await.unwrap_err(), TokenFault::UnknownKey);
    }
    assert_eq!(published.fetches(), 1);

    let other = PublishedKeys::serve(&issuer).await;
    let distrusting = Jwks::new(&other.url(), Some(published.ca()), &algorithms(&["ES256"])).unwrap();
    let fault = distrusting.verify::<Value>(&token).await.unwrap_err();
    assert!(matches!(fault, TokenFault::Unavailable(_)), "{fault}");
}
