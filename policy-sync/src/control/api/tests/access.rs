//! Who reaches what.

use super::*;
use crate::control::roles::Endpoint;

/// A path that the router matches to this endpoint.
fn path(endpoint: &Endpoint) -> String {
    endpoint.path.replace("{sequence}", "4711").replace("{id}", "cm-none").replace("{name}", "gw-none")
}

#[tokio::test]
async fn every_endpoint_is_reached_by_the_roles_of_the_table_and_by_nobody_else() {
    let served = Served::start().await;
    for endpoint in ENDPOINTS {
        let path = path(endpoint);
        for role in ApiRole::ALL {
            // An empty body of no type: whoever is let through is told so, and nothing changes.
            let answer = served.ask(role.as_str(), endpoint.method, &path, None).await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(!refused, endpoint.access.admits(&[role]), "{role} {endpoint:?}: {answer:?}");
            assert!(answer.status.as_u16() < 500, "{answer:?}");
        }
        for (who, word) in
            [("nobody", "no_token"), ("unknown", "unknown_token"), ("expired", "expired_token")]
        {
            let answer = served.ask(who, endpoint.method, &path, None).await;
            if endpoint.access == Access::Public {
                assert_eq!(answer.status, StatusCode::OK, "{who} {endpoint:?}");
            } else {
                assert_eq!(answer.refusal(), (401, word.into(), String::new()), "{who} {endpoint:?}");
                let challenge = answer.fields["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer "), "{challenge}");
            }
        }
    }
}

#[tokio::test]
async fn the_table_and_the_description_name_the_same_endpoints() {
    let served = Served::start().await;
    let description = served.ask("nobody", "GET", "/api/v1/openapi.json", None).await.json();
    let mut described = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let open = operation.get("security").is_none();
            described.push((method.clone(), path.clone(), open));
            let codes = operation["responses"].as_object().unwrap();
            assert!(open || ["401", "403", "429"].iter().all(|code| codes.contains_key(*code)));
        }
    }
    let mut table: Vec<_> = ENDPOINTS
        .iter()
        .map(|endpoint| {
            (endpoint.method.to_owned(), endpoint.path.to_owned(), endpoint.access == Access::Public)
        })
        .collect();
    described.sort();
    table.sort();
    assert_eq!(described, table);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_before_anybody_is_asked_who_he_is() {
    let served = Served::start().await;
    assert_eq!(served.ask("nobody", "GET", "/api/v1/secrets", None).await.refusal().1, "no_such_path");
    let answer = served.ask("nobody", "PATCH", "/api/v1/manifests", None).await;
    assert_eq!(answer.refusal().0, 405);
    assert_eq!(answer.fields["allow"], "GET, HEAD, PUT");
    let head = served.ask("viewer", "HEAD", "/api/v1/gateways", None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(served.ask("nobody", "HEAD", "/api/v1/gateways", None).await.status, 401);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let limits = CallerLimits { requests_per_second: 1, burst: 2, attempts_per_minute: 2 };
    let served = Served::with(limits).await;
    for (who, first, then) in [("viewer", 200, "too_many_requests"), ("unknown", 401, "too_many_attempts")] {
        for _ in 0..2 {
            assert_eq!(served.ask(who, "GET", "/api/v1/policy", None).await.status, first);
        }
        let over = served.ask(who, "GET", "/api/v1/policy", None).await;
        assert_eq!(over.refusal(), (429, then.into(), String::new()));
        let wait: u64 = over.fields["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
    }
    // Others are not hindered, not even from the address of the failed attempts.
    assert_eq!(served.ask("revoker", "GET", "/api/v1/policy", None).await.status, 200);
}

#[tokio::test]
async fn every_answer_forbids_to_keep_it_and_none_repeats_a_token() {
    let served = Served::start().await;
    for who in ["viewer", "unknown", "expired", "nobody"] {
        for path in ["/api/v1/policy", "/api/v1/none", "/api/v1/records", "/api/v1/revocations?target=canary"]
        {
            let answer = served.ask(who, "GET", path, None).await;
            assert_eq!(answer.fields["cache-control"], "no-store");
            let said = format!("{:?} {}", answer.fields, answer.text);
            assert!(!said.contains("pct_") && !said.contains("canary"), "{said}");
        }
    }
}
