//! What a refusal looks like: status, `Proxy-Status`, JSON body; over HTTP/1 and HTTP/2 alike.

use lab::{Answer, Behaviour, Capture, Draft, Lab, Over};

struct Expected {
    destination: String,
    status: u16,
    error: &'static str,
    reason: &'static str,
}

fn check(answer: &Answer, expected: &Expected, over: Over) {
    let context = format!("{} over {over:?}: {answer:?}", expected.destination);
    assert_eq!(answer.status, expected.status, "{context}");
    assert_eq!(answer.proxy_error(), Some(expected.error), "{context}");
    assert_eq!(answer.proxy_details(), Some(expected.reason), "{context}");
    assert!(answer.field("proxy-status").expect("a field").starts_with("portcullis;"), "{context}");
    assert!(answer.field("content-type").expect("a type").starts_with("application/json"), "{context}");
    let body = answer.json();
    assert_eq!(body["decision"], "deny", "{context}");
    assert_eq!(body["reason"], expected.reason, "{context}");
    assert!(body["hint"].as_str().is_some_and(|hint| hint.contains('.')), "{context}");
}

#[tokio::test]
async fn every_kind_of_refusal_is_answered_as_documented() {
    let nobody_there = {
        let origin = Capture::start(Behaviour::Sink).await;
        origin.destination()
    };
    let table = [
        ("unlisted.test:443", 403, "http_request_denied", "destination_not_listed"),
        ("secrets.example.com:443", 403, "http_request_denied", "destination_denied"),
        ("never.example.net:443", 403, "http_request_denied", "destination_forbidden"),
        ("metadata.example.com:443", 403, "destination_ip_prohibited", "address_prohibited"),
        (nobody_there.as_str(), 502, "connection_refused", "connection_refused"),
    ];
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("destinations.deny", vec!["never.example.net"]);
            settings.host("metadata.example.com", &["169.254.169.254"]);
        })
        .manifest(
            Draft::of("device-1")
                .raw("*.example.com:443")
                .raw("never.example.net:443")
                .deny("secrets.example.com")
                .raw(&nobody_there),
        )
        .start()
        .await;
    let device = lab.device("device-1");
    for (destination, status, error, reason) in table {
        let expected = Expected { destination: destination.into(), status, error, reason };
        for over in Over::BOTH {
            let answer =
                device.connect_over(over, destination).await.expect("an answer").expect_err("refused");
            check(&answer, &expected, over);
            let body = answer.json();
            assert_eq!(body["destination"], destination);
            assert_eq!(body["manifest"], "cm-device-1");
            assert!(body["revision"].is_u64() && body["session"].is_string(), "{body}");
        }
        let plain = format!("GET http://{destination}/ HTTP/1.1\r\nHost: {destination}\r\n\r\n");
        let answer = device.ask(plain).await.expect("an answer");
        check(&answer, &expected, Over::Http1);
    }
}

#[tokio::test]
async fn the_connection_closes_after_a_refused_connect() {
    let lab = Lab::with(Draft::of("device-1")).await;
    let mut wire = lab.device("device-1").wire().await;
    let head = lab::device::connect_head("unlisted.test:443", "");
    // What follows the head is tunnel data, and must never be read as a second request.
    wire.send(format!("{head}GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n\r\n"))
        .await
        .expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 403);
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(lab.happened("agent.session_denied", 1).await.len(), 1);
}

#[tokio::test]
async fn a_request_can_be_too_large_or_too_slow_or_of_no_use() {
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("deadlines.head", "300ms");
        })
        .manifest(Draft::of("device-1"))
        .start()
        .await;
    let long =
        format!("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nX: {}\r\n\r\n", "x".repeat(17_000));
    let many = format!("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n{}\r\n", "X: y\r\n".repeat(65));
    let table: [(&str, u16, &str); 4] = [
        (&long, 431, "head_too_large"),
        (&many, 431, "head_too_large"),
        ("TRACE http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 405, "method_not_allowed"),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a", 408, "request_timeout"),
    ];
    for (head, status, reason) in table {
        let answer = lab.device("device-1").ask(head).await.expect("an answer");
        let start = &head[..40.min(head.len())];
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{start:?}");
    }
}

#[tokio::test]
async fn a_limit_on_sessions_is_answered_with_when_to_come_back() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).network("sessions", 2)).await;
    let device = lab.device("device-1");
    for over in Over::BOTH {
        let one = device.tunnel_over(over, &origin.destination()).await;
        let two = device.tunnel_over(over, &origin.destination()).await;
        let third = device.connect_over(over, &origin.destination()).await.expect("an answer");
        let refused = third.expect_err("the third is refused");
        assert_eq!((refused.status, refused.reason().as_str()), (429, "session_limit_reached"));
        assert_eq!(refused.proxy_error(), Some("connection_limit_reached"));
        assert!(refused.field("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        drop((one, two));
        lab.live(0).await;
        device.tunnel_over(over, &origin.destination()).await.echoes(b"room again").await;
        lab.live(0).await;
    }
}

#[tokio::test]
async fn nothing_of_the_request_comes_back_unescaped() {
    let lab = Lab::with(Draft::of("device-1")).await;
    let nasty =
        "GET http://a.test/<script>\"canary\" HTTP/1.1\r\nHost: <b>canary</b>\r\nX-Secret: canary\r\n\r\n";
    let answer = lab.device("device-1").ask(nasty).await.expect("an answer");
    assert_eq!(answer.status, 400);
    let text = format!("{:?}{}", answer.fields, String::from_utf8_lossy(&answer.body));
    assert!(!text.contains("canary") && !text.contains('<'), "{text}");
}
