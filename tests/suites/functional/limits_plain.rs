//! Upload limits on plain HTTP: request line, fields and body count as they are forwarded.

use lab::{Draft, End, HttpOrigin, Lab};

async fn limited(origin: &HttpOrigin, limit: u64) -> Lab {
    Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(limit)).await
}

fn post(origin: &HttpOrigin, framing: &str) -> String {
    format!("POST {} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n", origin.url("/"), origin.destination())
}

#[tokio::test]
async fn a_declared_length_beyond_what_is_left_is_refused_before_anything_is_dialled() {
    let origin = HttpOrigin::start().await;
    let lab = limited(&origin, 10_000).await;
    let mut connection = lab.device("device-1").wire().await;
    let answer = connection.ask(post(&origin, "Content-Length: 10001")).await.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (413, "upload_budget_spent"));
    assert_eq!(answer.proxy_error(), Some("http_request_denied"));
    let answer = lab.device("device-1").http2().await.plain("POST", &origin.url("/"), &[0; 20_000]).await;
    // Without a declared length HTTP/2 finds out on the way, as chunked does.
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status >= 400));
    assert!(origin.bytes() <= 10_000);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn a_chunked_upload_stops_exactly_at_the_limit() {
    for limit in [1_000, 65_536, 300_001] {
        let origin = HttpOrigin::start().await;
        let lab = limited(&origin, limit).await;
        let mut wire = lab.device("device-1").wire().await;
        wire.send(post(&origin, "Transfer-Encoding: chunked")).await.expect("sent");
        for _ in 0..limit / 1_000 + 200 {
            let chunk = format!("3e8\r\n{}\r\n", "c".repeat(1_000));
            if wire.send(chunk).await.is_err() {
                break;
            }
        }
        let (said, end) = wire.rest().await;
        assert!(end == End::Broken || !said.is_empty(), "the device is told");
        let ending = lab.ending("upload_limit_exceeded").await;
        assert_eq!(ending["upload_bytes"], limit);
        origin.quiet().await;
        assert_eq!(origin.bytes(), limit);
        assert_eq!(origin.requests().len(), 0, "a truncated upload is never completed");
    }
}

#[tokio::test]
async fn requests_spend_the_manifests_budget_to_the_last_byte() {
    let origin = HttpOrigin::start().await;
    let lab = limited(&origin, 2_000).await;
    let device = lab.device("device-1");
    let mut answered = 0;
    loop {
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/"), origin.destination());
        match device.ask(request).await {
            Ok(answer) if answer.status == 200 => answered += 1,
            Ok(answer) => {
                assert!(["upload_budget_spent", "upload_limit_exceeded"].contains(&answer.reason().as_str()));
                break;
            }
            Err(_) => break,
        }
        assert!(answered < 100, "heads count, so this comes to an end");
    }
    assert!(answered > 3);
    assert!(origin.bytes() <= 2_000);
    let said: u64 =
        lab.events().of("agent.session_ended").iter().filter_map(|e| e["upload_bytes"].as_u64()).sum();
    assert_eq!(said, origin.bytes(), "what the events say is what the origin got");
}

#[tokio::test]
async fn query_and_fields_are_uploads_too() {
    let origin = HttpOrigin::start().await;
    let lab = limited(&origin, 1_000).await;
    let long = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        origin.url(&format!("/?secret={}", "s".repeat(2_000))),
        origin.destination()
    );
    let outcome = lab.device("device-1").ask(long).await;
    assert!(outcome.is_err() || outcome.is_ok_and(|answer| answer.status != 200));
    assert!(origin.bytes() <= 1_000);
    assert_eq!(origin.requests().len(), 0);
}
