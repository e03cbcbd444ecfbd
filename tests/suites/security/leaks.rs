//! Secrets and attacker-chosen text: neither gets into answers, logs, events or metrics unescaped.

use lab::{Behaviour, Capture, Draft, HttpOrigin, Lab};

const CANARIES: [&str; 4] = ["canary-token", "canary-query", "canary-body", "canary-password"];

#[tokio::test]
async fn what_an_agent_sends_is_written_down_nowhere() {
    let (plain, raw) = (HttpOrigin::start().await, Capture::start(Behaviour::Echo).await);
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("gateway.log", "trace");
        })
        .manifest(Draft::of("device-1").raw(&plain.destination()).raw(&raw.destination()))
        .start()
        .await;
    let device = lab.device("device-1");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer canary-token\r\nCookie: s=canary-token\r\n\
         Proxy-Authorization: Basic Y293b3JrLXYxLjA6Y2FuYXJ5LXBhc3N3b3Jk\r\nContent-Length: 11\r\n\r\ncanary-body",
        plain.url("/?key=canary-query"),
        plain.destination()
    );
    assert_eq!(device.ask(head).await.expect("an answer").status, 200);
    device.tunnel(&raw.destination()).await.echoes(b"canary-body").await;
    device
        .ask("GET http://a..b/?canary-query HTTP/1.1\r\nHost: x\r\nX: canary-token\r\n\r\n")
        .await
        .expect("an answer");
    lab.endings(2).await;
    let written = [
        ("log", lab.log()),
        ("events", std::fs::read_to_string(lab.dir().join("events.jsonl")).expect("events")),
        ("metrics", lab.metrics().await.0),
    ];
    for (where_to, text) in written {
        for canary in CANARIES.iter().chain(&["Y293b3JrLXYxLjA6Y2FuYXJ5LXBhc3N3b3Jk", "PRIVATE KEY"]) {
            assert!(!text.contains(canary), "{canary} in the {where_to}");
        }
    }
}

#[tokio::test]
async fn text_that_a_device_chose_stays_on_its_line() {
    let lab = Lab::with(Draft::of("device-1")).await;
    let long = format!("{}.test:443", ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join("."));
    lab.device("device-1").refusal(&long).await;
    for nasty in ["a\r\nevil: x", "a\x1b[31m", "a\u{202e}b", "\"},{\"event_type\":\"forged\""] {
        let _ = lab.device("device-1").ask(format!("CONNECT {nasty}:443 HTTP/1.0\r\n\r\n")).await;
    }
    let mut odd = lab.pki.profile("device-1");
    odd.common_name = Some("evil\r\n{\"event_type\":\"forged\"}\u{1b}[31m".into());
    odd.uris = vec!["spiffe://elsewhere.test/device/x".into()];
    lab.device_with(lab.pki.odd(&odd)).is_admitted().await;
    lab.event("a refused handshake", |event| event["event_type"] == "system.handshake_refused").await;
    // Reading parses every line: a forged or broken one fails here.
    assert!(lab.events().0.iter().all(|event| event["event_type"] != "forged"));
    let log = lab.log();
    assert!(!log.contains("\u{1b}[31m") && !log.contains("\u{202e}"), "no terminal sequence reaches the log");
}
