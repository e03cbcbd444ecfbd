//! What a rule covers, and what only looks as if it did.

use lab::{Behaviour, Capture, Draft, Lab, Over};
use serde_json::json;

#[tokio::test]
async fn a_suffix_ends_at_a_dot_and_is_read_from_the_right() {
    let origin = Capture::start(Behaviour::Echo).await;
    let port = origin.address().port();
    let names = ["api.github.example", "a.b.github.example"];
    let outside = [
        "github.example",
        "evilgithub.example",
        "github.example.evil.test",
        "api.github.example.evil.test",
        "api-github.example",
        "apigithub.example",
    ];
    let lab = Lab::builder()
        .settings(|settings| {
            for name in names.iter().chain(&outside) {
                settings.host(name, &["127.0.0.1"]);
            }
        })
        .manifest(Draft::of("device-1").raw(&format!("*.github.example:{port}")))
        .start()
        .await;
    for over in Over::BOTH {
        for name in names {
            lab.device("device-1").tunnel_over(over, &origin.at(name)).await.echoes(b"inside").await;
        }
        for name in outside {
            let refused =
                lab.device("device-1").connect_over(over, &origin.at(name)).await.expect("an answer");
            assert_eq!(refused.expect_err("outside").reason(), "destination_not_listed", "{name}");
        }
    }
}

#[tokio::test]
async fn a_denial_that_is_more_specific_wins_and_a_tie_is_a_denial() {
    let origin = Capture::start(Behaviour::Echo).await;
    let port = origin.address().port();
    let lab = Lab::builder()
        .settings(|settings| {
            for name in [
                "a.example.com",
                "secrets.example.com",
                "tied.example.net",
                "b.example.org",
                "a.b.example.org",
            ] {
                settings.host(name, &["127.0.0.1"]);
            }
        })
        .manifest(
            Draft::of("device-1")
                .raw(&format!("*.example.com:{port}"))
                .deny("secrets.example.com")
                .raw(&format!("tied.example.net:{port}"))
                .deny(&format!("tied.example.net:{port}"))
                .raw(&format!("a.b.example.org:{port}"))
                .deny("*.example.org"),
        )
        .start()
        .await;
    let device = lab.device("device-1");
    device.tunnel(&origin.at("a.example.com")).await.echoes(b"ok").await;
    device.tunnel(&origin.at("a.b.example.org")).await.echoes(b"ok").await;
    assert_eq!(device.refusal(&origin.at("secrets.example.com")).await.reason(), "destination_denied");
    assert_eq!(device.refusal(&origin.at("tied.example.net")).await.reason(), "destination_ambiguous");
    assert_eq!(device.refusal(&origin.at("b.example.org")).await.reason(), "destination_denied");
}

#[tokio::test]
async fn an_empty_manifest_allows_nothing_and_a_port_is_never_implied() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1"))
        .manifest(Draft::of("device-2").raw("origin.test"))
        .start()
        .await;
    for device in ["device-1", "device-2"] {
        let refused = lab.device(device).refusal(&origin.destination()).await;
        assert_eq!(refused.reason(), "destination_not_listed", "{device}: without a port it is 443 alone");
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn a_rule_over_a_public_suffix_takes_its_whole_manifest_down() {
    for wide in ["*", "*.com", "*.co.uk", "*.github.io", "*.s3.amazonaws.com", "*.vercel.app", "*.uk"] {
        let lab = Lab::builder().manifest(Draft::of("device-1").raw("origin.test:1").raw(wide)).start().await;
        let refused = lab.event("refused", |event| event["event_type"] == "control.manifest_refused").await;
        assert!(refused.to_string().contains("allow"), "{wide}: {refused}");
        assert_eq!(lab.device("device-1").refusal("origin.test:1").await.reason(), "no_manifest", "{wide}");
    }
}

#[tokio::test]
async fn plain_http_is_decided_like_connect() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = Lab::with(Draft::of("device-1").raw("listed.test:80")).await;
    let device = lab.device("device-1");
    let url = format!("http://{}/", origin.destination());
    let head = format!("GET {url} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.destination());
    assert_eq!(device.ask(head).await.expect("an answer").reason(), "destination_not_listed");
    let answer = device.http2().await.plain("GET", &url, b"").await.expect("an answer");
    assert_eq!(answer.reason(), "destination_not_listed");
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn the_decision_depends_on_the_device_and_never_on_fields_of_the_request() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2"))
        .start()
        .await;
    for fields in [
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Portcullis-Device: device-1\r\n",
        "Forwarded: for=device-1\r\n",
        "Via: 1.1 elsewhere\r\n",
        "X-Client-Cert: device-1\r\n",
        "Proxy-Authorization: Basic ZGV2aWNlLTE6eA==\r\n",
    ] {
        let outcome =
            lab.device("device-2").connect_with(&origin.destination(), fields).await.expect("an answer");
        assert_eq!(outcome.expect_err("refused").status, 403, "{fields}");
    }
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn report_mode_lets_through_and_says_so_and_a_gateway_can_forbid_it() {
    let origin = Capture::start(Behaviour::Echo).await;
    for permitted in [true, false] {
        let lab = Lab::builder()
            .settings(|settings| {
                settings.set("policy.allow_report_mode", permitted);
                settings.host("metadata.test", &["169.254.169.254"]);
            })
            .manifest(Draft::of("device-1").network("mode", "report").network("deny", json!([])))
            .start()
            .await;
        let outcome = lab.device("device-1").connect(&origin.destination()).await.expect("an answer");
        if !permitted {
            assert!(outcome.is_err());
            continue;
        }
        outcome.expect("let through").echoes(b"learning").await;
        let noted = lab.event("would_deny", |event| event.to_string().contains("would_deny")).await;
        assert_eq!(noted["destination"], origin.destination());
        assert_eq!(lab.device("device-1").refusal("metadata.test:80").await.reason(), "address_prohibited");
    }
}
