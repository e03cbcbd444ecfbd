//! What the gateway says about itself: events, metrics, sessions, health.

use std::collections::HashSet;

use lab::{Behaviour, Capture, Draft, Lab, Over};

#[tokio::test]
async fn every_session_has_one_decision_and_one_ending() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let device = lab.device("device-1");
    for over in Over::BOTH {
        device.tunnel_over(over, &origin.destination()).await.echoes(b"0123456789").await;
        device.connect_over(over, "unlisted.test:443").await.expect("an answer").expect_err("refused");
    }
    lab.endings(2).await;
    lab.happened("agent.session_denied", 2).await;
    let events = lab.events();
    for allowed in events.of("agent.session_allowed") {
        let session = allowed["session"].as_str().expect("a session");
        let kinds: Vec<_> =
            events.of_session(session).iter().map(|event| event["event_type"].clone()).collect();
        assert_eq!(kinds, ["agent.session_allowed", "agent.session_ended"]);
    }
    let sessions: HashSet<_> =
        events.of("agent.session_denied").iter().map(|e| e["session"].to_string()).collect();
    assert_eq!(sessions.len(), 2);
}

#[tokio::test]
async fn an_ending_says_all_that_is_known() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let device = lab.device("device-1");
    let fingerprint = device.credentials.as_ref().expect("credentials").fingerprint;
    device.tunnel(&origin.destination()).await.echoes(b"0123456789").await;
    let ending = &lab.endings(1).await[0];
    let allowed = lab.events().of("agent.session_allowed")[0].clone();
    assert_eq!(allowed["decision"], "allowed");
    for event in [&allowed, ending] {
        assert_eq!(event["agent_id"], "cowork-v1.0:device-1");
        assert_eq!(event["user"], "alice@example.com");
        assert_eq!(event["capability_manifest_id"], "cm-device-1");
        assert_eq!(event["gateway"], "gw-lab");
        assert_eq!(event["destination"], origin.destination());
        assert_eq!(event["residency"], "eu");
        assert!(event["policy_revision"].is_u64());
        let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(event["certificate_sha256"], hex);
        let ts: jiff::Timestamp = event["ts"].as_str().expect("a time").parse().expect("RFC 3339");
        assert!(ts <= jiff::Timestamp::now());
    }
    assert_eq!(ending["address"], "127.0.0.1");
    assert_eq!(ending["rule"], origin.destination());
    assert_eq!((&ending["upload_bytes"], &ending["download_bytes"]), (&10.into(), &10.into()));
    assert!(ending["duration_ms"].is_u64());
}

#[tokio::test]
async fn events_are_numbered_without_gaps_and_named_without_repeats() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    for _ in 0..5 {
        lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"x").await;
    }
    lab.endings(5).await;
    lab.restart().await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"x").await;
    lab.endings(6).await;
    let events = lab.events().0;
    let ids: HashSet<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
    assert_eq!(ids.len(), events.len());
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence"].as_u64().expect("a number")).collect();
    for pair in numbers.windows(2) {
        assert!(pair[1] == pair[0] + 1 || pair[1] <= 1, "a gap between {} and {}", pair[0], pair[1]);
    }
}

#[tokio::test]
async fn a_long_session_reports_while_it_lasts() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("deadlines.report", "100ms");
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"0123456789").await;
    let report = lab.event("a report", |event| event["event_type"] == "agent.session_progress").await;
    assert_eq!(report["agent_id"], "cowork-v1.0:device-1");
    lab.event("a report with its bytes", |event| {
        event["event_type"] == "agent.session_progress" && event["upload_bytes"] == 10
    })
    .await;
}

#[tokio::test]
async fn live_sessions_are_listed_with_their_bytes() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    assert_eq!(lab.sessions().await.len(), 0);
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"0123456789").await;
    let session = lab.live(1).await.remove(0);
    assert_eq!(session["device"], "device-1");
    assert_eq!(session["agent"], "cowork-v1.0");
    assert_eq!(session["destination"], origin.destination());
    assert_eq!(session["upload_bytes"], 10);
    assert_eq!(session["download_bytes"], 10);
    drop(tunnel);
    lab.live(0).await;
}

#[tokio::test]
async fn metrics_count_what_happened_and_never_name_a_device_or_a_host() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let device = lab.device("device-1");
    device.tunnel(&origin.destination()).await.echoes(b"0123456789").await;
    for number in 0..20 {
        device.refusal(&format!("unlisted-{number}.test:443")).await;
    }
    lab.endings(1).await;
    let metrics = lab.metrics().await;
    for canary in ["device-1", "cowork", "alice", "origin.test", "unlisted"] {
        assert!(!metrics.0.contains(canary), "{canary} in\n{}", metrics.0);
    }
    assert!(metrics.0.contains("destination_not_listed"), "{}", metrics.0);
    let series = metrics.series();
    for number in 20..60 {
        device.refusal(&format!("unlisted-{number}.test:443")).await;
    }
    assert_eq!(lab.metrics().await.series(), series, "what agents ask for makes no new series");
}

#[tokio::test]
async fn health_and_policy_are_told_on_the_admin_listener_only() {
    let lab = Lab::with(Draft::of("device-1")).await;
    for (path, status) in
        [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/sessions", 200), ("/policy", 200)]
    {
        assert_eq!(lab.admin(path).await.status, status, "{path}");
    }
    assert_eq!(lab.admin("/no-such-page").await.status, 404);
    let policy = lab.admin("/policy").await;
    assert!(String::from_utf8_lossy(&policy.body).contains("cm-device-1"));
    for path in ["/livez", "/metrics", "/sessions"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = lab.device("device-1").ask(head).await.expect("an answer");
        assert_eq!(answer.status, 400, "the device port serves no pages of its own");
    }
}
