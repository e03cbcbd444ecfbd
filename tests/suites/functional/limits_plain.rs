//! Upload limits on plain HTTP: request line, fields and body count as they are forwarded.

use lab::{Draft, End, HttpOrigin, Lab, Wire};
use serde_json::json;

async fn limited(origin: &HttpOrigin, limit: u64) -> Lab {
    Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(limit)).await
}

/// The same limit wherever one can stand.
fn in_every_scope(origin: &HttpOrigin, limit: u64) -> [Draft; 4] {
    let (draft, destination) = (Draft::of("device-1"), origin.destination());
    let rule = |key: &str| json!({"host": destination, "tls": "none", key: limit});
    [
        draft.clone().raw(&destination).in_all(limit),
        draft.clone().raw(&destination).per_session(limit),
        draft.clone().allow(rule("upload_bytes")),
        draft.allow(rule("upload_bytes_per_session")),
    ]
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
        for scope in 0..4 {
            let origin = HttpOrigin::start().await;
            let lab = Lab::with(in_every_scope(&origin, limit)[scope].clone()).await;
            let mut wire = lab.device("device-1").wire().await;
            wire.send(post(&origin, "Transfer-Encoding: chunked")).await.expect("sent");
            pour_chunks(&mut wire, limit + 200_000).await;
            let (said, end) = wire.rest().await;
            assert!(end == End::Broken || !said.is_empty(), "the device is told");
            let ending = lab.ending("upload_limit_exceeded").await;
            assert_eq!(ending["upload_bytes"], limit, "scope {scope}");
            origin.quiet(1).await;
            assert_eq!(origin.bytes(), limit, "scope {scope}");
            assert_eq!(origin.requests().len(), 0, "a truncated upload is never completed");
        }
    }
}

/// Sends chunks until so many bytes are sent or nobody takes them any more.
async fn pour_chunks(wire: &mut Wire, bytes: u64) {
    for _ in 0..bytes / 1_000 {
        if wire.send(format!("3e8\r\n{}\r\n", "c".repeat(1_000))).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn sixty_four_parallel_requests_get_exactly_the_limit_between_them() {
    const LIMIT: u64 = 1_200_007;
    let origin = HttpOrigin::start().await;
    let draft = Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT).network("sessions", 64);
    let lab = Lab::with(draft).await;
    let head = post(&origin, "Transfer-Encoding: chunked");
    let mut wires = Vec::new();
    for _ in 0..64 {
        let mut wire = lab.device("device-1").wire().await;
        wire.send(&head).await.expect("sent");
        wires.push(wire);
    }
    lab.live(64).await;
    let pouring = wires.into_iter().map(|mut wire| {
        tokio::spawn(async move {
            pour_chunks(&mut wire, LIMIT + 1_000).await;
            wire.rest().await;
        })
    });
    for task in pouring.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    let endings = lab.endings(64).await;
    origin.quiet(64).await;
    assert_eq!(origin.bytes(), LIMIT);
    let said: u64 = endings.iter().filter_map(|ending| ending["upload_bytes"].as_u64()).sum();
    assert_eq!(said, LIMIT);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn an_http2_upload_without_a_length_stops_exactly_at_the_limit() {
    for limit in [1_000, 200_003] {
        let origin = HttpOrigin::start().await;
        let lab = limited(&origin, limit).await;
        let outcome =
            lab.device("device-1").http2().await.plain("POST", &origin.url("/"), &[b'2'; 500_000]).await;
        assert!(!outcome.is_ok_and(|answer| answer.status == 200));
        assert_eq!(lab.ending("upload_limit_exceeded").await["upload_bytes"], limit);
        origin.quiet(1).await;
        assert_eq!(origin.bytes(), limit);
        assert_eq!(origin.requests().len(), 0);
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
    lab::eventually(lab::wait::PATIENCE, "the events say what the origin got", async || {
        let events = lab.events();
        let endings = events.of("agent.session_ended");
        let said: u64 = endings.iter().filter_map(|ending| ending["upload_bytes"].as_u64()).sum();
        (said == origin.bytes()).then_some(())
    })
    .await;
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
