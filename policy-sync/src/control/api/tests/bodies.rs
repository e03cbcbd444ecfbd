//! What is said in bodies, right and wrong, and what comes of it.

use super::*;
use crate::signed::{sign_lift, sign_revocation};
use crate::target::Target;
use crate::transport::{Link as _, Report};

const REVOKE: &str = "/api/v1/revoke";

#[tokio::test]
async fn a_wrong_body_is_refused_with_the_field_that_is_wrong() {
    let served = Served::start().await;
    let long = format!(r#"{{"device":"d","reason":"{}"}}"#, "x".repeat(257));
    for (body, field) in [
        (r#"{"reason":"x"}"#, ""),
        (r#"{"device":"d"}"#, "reason"),
        (r#"{"device":"d","reason":""}"#, "reason"),
        (&long, "reason"),
        (r#"{"device":"d","reason":null}"#, "reason"),
        (r#"{"device":"d","reason":"x","timestamp":"yesterday"}"#, "timestamp"),
        (r#"{"device":"d","reason":"x","timestamp":17}"#, "timestamp"),
        (r#"{"device":"d","reason":"x","reasons":"y"}"#, "reasons"),
        (r#"{"device":"d","reason":"x","reason":"x"}"#, "reason"),
        (r#"{"device":"d","user":"u","reason":"x"}"#, "user"),
        (r#"{"device":"d","reason":"x","envelope":{}}"#, "device"),
        (r#"{"manifest_id":"a/b","reason":"x"}"#, "manifest_id"),
        (r#"{"all":"true","reason":"x"}"#, "all"),
        ("[]", ""),
        ("{", ""),
        ("", ""),
        ("null", ""),
    ] {
        let answer = served.ask("revoker", "POST", REVOKE, Some(body)).await;
        assert_eq!(answer.refusal(), (400, "malformed".into(), field.into()), "{body}");
    }
    for (path, field) in [
        ("/api/v1/revoke?wait_ms=-1", "wait_ms"),
        ("/api/v1/revoke?wait_ms=1&wait_ms=2", "wait_ms"),
        ("/api/v1/revoke?wait=1", ""),
    ] {
        let answer = served.ask("revoker", "POST", path, Some(r#"{"device":"d","reason":"x"}"#)).await;
        assert_eq!(answer.refusal(), (400, "malformed".into(), field.into()), "{path}");
    }
    assert_eq!(
        served.ask("viewer", "GET", "/api/v1/revocations", None).await.json()["revocations"],
        json!([])
    );
}

#[tokio::test]
async fn a_body_has_to_be_declared_and_within_bounds() {
    let served = Served::start().await;
    let authorization = format!("Bearer {}", served.tokens["revoker"]);
    let body = r#"{"device":"d","reason":"x"}"#;
    for (kind, expected) in [
        (None, 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON"), 200),
    ] {
        let mut fields = HeaderMap::new();
        fields.insert(AUTHORIZATION, authorization.parse().unwrap());
        fields.extend(kind.map(|kind| (CONTENT_TYPE, kind.parse().unwrap())));
        let answer = served.send("POST", REVOKE, fields, body).await;
        assert_eq!(answer.status.as_u16(), expected, "{kind:?}: {answer:?}");
    }
    let large = format!(r#"{{"device":"d","reason":"{}"}}"#, "x".repeat(1 << 20));
    assert_eq!(served.ask("revoker", "POST", REVOKE, Some(&large)).await.refusal().0, 413);
}

#[tokio::test]
async fn the_same_order_again_has_the_same_answer() {
    let served = Served::start().await;
    let order = r#"{"manifest_id":"cm-987","reason":"suspicious exfil","timestamp":"2026-01-17T12:40:00Z"}"#;
    let first = served.ask("revoker", "POST", REVOKE, Some(order)).await.json();
    assert_eq!((&first["sequence"], &first["repeated"]), (&json!(1), &json!(false)));
    assert_eq!(first["target"], json!({"manifest_id": "cm-987"}));
    assert_eq!((&first["applied"], &first["pending"]), (&json!([]), &json!([])));
    for path in [REVOKE, "/api/v1/revocations"] {
        let again = served.ask("admin", "POST", path, Some(order)).await.json();
        assert_eq!((&again["sequence"], &again["repeated"]), (&json!(1), &json!(true)));
        assert_eq!(again["revocation"], first["revocation"]);
    }
    let shown = served.ask("viewer", "GET", "/api/v1/revocations/1", None).await.json();
    assert_eq!((&shown["by"], &shown["reason"]), (&json!("revoker@example.com"), &json!("suspicious exfil")));
    assert_eq!(shown["timestamp"], "2026-01-17T12:40:00Z");
    assert_eq!(served.ask("viewer", "GET", "/api/v1/revocations/2", None).await.refusal().0, 404);
    assert_eq!(served.ask("viewer", "GET", "/api/v1/revocations/x", None).await.refusal().0, 400);
}

#[tokio::test]
async fn a_gateway_that_has_not_said_so_is_pending() {
    let served = Served::start().await;
    let link = served.log.link("gw-2");
    let following = tokio::spawn(async move { link.follow(Report::default(), Box::new(|_| {})).await });
    let viewer = async || served.ask("viewer", "GET", "/api/v1/gateways", None).await.json();
    while viewer().await["gateways"] == json!([]) {
        tokio::task::yield_now().await;
    }
    let order = r#"{"device":"device-7","reason":"lost"}"#;
    let answer = served.ask("revoker", "POST", "/api/v1/revoke?wait_ms=1", Some(order)).await.json();
    assert_eq!((&answer["applied"], &answer["pending"]), (&json!([]), &json!(["gw-2"])));
    let gateway = &viewer().await["gateways"][0];
    assert_eq!((&gateway["name"], &gateway["behind"]), (&json!("gw-2"), &json!(1)));
    following.abort();
    assert_eq!(served.ask("admin", "DELETE", "/api/v1/gateways/gw-3", None).await.refusal().0, 404);
}

#[tokio::test]
async fn revocations_are_listed_in_pages_and_by_target() {
    let served = Served::start().await;
    for number in 1..=5 {
        let order = format!(r#"{{"device":"device-{}","reason":"r{number}"}}"#, number % 2);
        assert_eq!(served.ask("revoker", "POST", REVOKE, Some(&order)).await.status, 200);
    }
    let list = async |query: &str| {
        let answer = served.ask("viewer", "GET", &format!("/api/v1/revocations?{query}"), None).await.json();
        let all: Vec<u64> = answer["revocations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|revocation| revocation["sequence"].as_u64().unwrap())
            .collect();
        (all, answer["next"].as_u64())
    };
    assert_eq!(list("").await, (vec![1, 2, 3, 4, 5], None));
    assert_eq!(list("limit=2").await, (vec![1, 2], Some(2)));
    assert_eq!(list("limit=2&after=2").await, (vec![3, 4], Some(4)));
    assert_eq!(list("limit=2&after=4").await, (vec![5], None));
    assert_eq!(list("target=device:device-0").await, (vec![2, 4], None));
    assert_eq!(list("target=device:device-1&limit=1&after=1").await, (vec![3], Some(3)));
    assert_eq!(list("limit=0&after=99999999999999999999").await, (vec![], None));
}

#[tokio::test]
async fn what_was_revoked_is_lifted_unless_it_is_for_ever() {
    let served = Served::start().await;
    for order in [r#"{"device":"d","reason":"x"}"#, r#"{"manifest_id":"cm-1","reason":"x"}"#] {
        assert_eq!(served.ask("revoker", "POST", REVOKE, Some(order)).await.status, 200);
    }
    let lift = async |sequence: u64| {
        served.ask("approver", "DELETE", &format!("/api/v1/revocations/{sequence}"), None).await
    };
    for repeated in [false, true] {
        let lifted = lift(1).await.json();
        assert_eq!((&lifted["sequence"], &lifted["repeated"]), (&json!(3), &json!(repeated)));
    }
    assert_eq!(lift(2).await.refusal().0, 409);
    assert_eq!(lift(3).await.refusal().0, 404);
    let shown = served.ask("viewer", "GET", "/api/v1/revocations/1", None).await.json();
    assert_eq!(shown["lifted"], json!(3));
}

#[tokio::test]
async fn what_others_have_signed_is_taken_if_the_right_key_has() {
    let served = Served::start().await;
    let target = Target::Device("d".parse().unwrap());
    let sign = |key: &str| {
        let signed = sign_revocation(target.clone(), "x", Timestamp::now(), &served.keys[key]).unwrap();
        (String::from_utf8(signed.0.to_json()).unwrap(), signed.1)
    };
    let (envelope, revocation) = sign("revoker-1");
    let body = format!(r#"{{"envelope":{envelope}}}"#);
    let answer = served.ask("revoker", "POST", REVOKE, Some(&body)).await.json();
    assert_eq!(answer["revocation"], json!(revocation.id.to_string()));
    for wrong in [format!(r#"{{"envelope":{}}}"#, sign("author-1").0), r#"{"envelope":{}}"#.into()] {
        assert_eq!(served.ask("revoker", "POST", REVOKE, Some(&wrong)).await.refusal().0, 422, "{wrong}");
    }
    let lift = sign_lift(&revocation, "found", Timestamp::now(), &served.keys["approver-1"]).unwrap();
    let lift = String::from_utf8(lift.to_json()).unwrap();
    // A lifting is no revocation, whatever it is submitted as.
    let disguised = format!(r#"{{"envelope":{lift}}}"#);
    assert_eq!(served.ask("revoker", "POST", REVOKE, Some(&disguised)).await.refusal().0, 422);
    assert_eq!(served.ask("approver", "POST", "/api/v1/lifts", Some(&lift)).await.json()["sequence"], 2);
}

#[tokio::test]
async fn what_cannot_be_written_down_is_said_to_be_not_durable() {
    let served = Served::start().await;
    served.log.fail(Some("the disk is full"));
    let answer = served.ask("revoker", "POST", REVOKE, Some(r#"{"device":"d","reason":"x"}"#)).await;
    assert_eq!(answer.refusal().0, 503);
    assert_eq!(answer.refusal().1, "not_durable");
    assert_eq!(served.ask("nobody", "GET", "/readyz", None).await.status, 503);
    assert_eq!(served.ask("nobody", "GET", "/livez", None).await.status, 200);
    served.log.fail(None);
    let answer = served.ask("revoker", "POST", REVOKE, Some(r#"{"device":"d","reason":"x"}"#)).await;
    assert_eq!(answer.json()["sequence"], 1);
}

#[tokio::test]
async fn auditors_read_the_records_as_they_were_signed() {
    let served = Served::start().await;
    for device in ["a", "b"] {
        let order = format!(r#"{{"device":"{device}","reason":"x"}}"#);
        assert_eq!(served.ask("revoker", "POST", REVOKE, Some(&order)).await.status, 200);
    }
    let records = served.ask("auditor", "GET", "/api/v1/records?after=1", None).await.json();
    assert_eq!((records["records"].as_array().unwrap().len(), &records["sequence"]), (1, &json!(2)));
    let envelope = Envelope::read(records["records"][0].to_string().as_bytes()).unwrap();
    assert!(!envelope.unverified_payload().is_empty());
    let end = served.ask("auditor", "GET", "/api/v1/records?after=2", None).await.json();
    assert_eq!(end["records"], json!([]));
}
