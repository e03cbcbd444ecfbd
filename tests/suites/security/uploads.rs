//! What counts as an upload: every byte the agent chose that reaches the origin, and nothing else.

use lab::device::connect_head;
use lab::{Behaviour, Capture, Draft, HttpOrigin, Lab, Over, Tunnel};

#[tokio::test]
async fn early_bytes_and_first_flight_count() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).per_session(10)).await;
    let mut wire = lab.device("device-1").wire().await;
    let _ = wire.send(format!("{}0123456789abcdef", connect_head(&origin.destination(), ""))).await;
    let _ = wire.answer().await;
    let ending = lab.ending("upload_limit_exceeded").await;
    assert_eq!(ending["upload_bytes"], 10);
    let incoming = origin.connection(0).await;
    incoming.ended().await;
    assert_eq!(incoming.bytes(), b"0123456789");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_never_sent_in_part_as_a_whole() {
    let origin = Capture::start(Behaviour::Sink).await;
    let hello = lab::hello::client_hello("origin.test");
    let entry =
        serde_json::json!({"host": origin.destination(), "tls": "sni", "upload_bytes_per_session": 100});
    let lab = Lab::with(Draft::of("device-1").allow(entry)).await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    let _ = tunnel.send(&hello).await;
    lab.ending("upload_limit_exceeded").await;
    let incoming = origin.connection(0).await;
    assert_eq!(incoming.ended().await, lab::End::Broken);
    assert_eq!(incoming.bytes(), hello[..100]);
}

#[tokio::test]
async fn what_events_say_origins_received() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let device = lab.device("device-1");
    let sizes = [0, 1, 2, 100, 16_383, 16_384, 16_385, 65_536, 200_000];
    for over in Over::BOTH {
        for size in sizes {
            let mut tunnel = device.tunnel_over(over, &origin.destination()).await;
            if size > 0 {
                tunnel.echoes(&vec![b'r'; size]).await;
            }
            tunnel.finish().await.expect("finished");
            tunnel.rest().await;
        }
    }
    let count = sizes.len() * 2;
    let endings = lab.endings(count).await;
    let mut said: Vec<u64> =
        endings.iter().map(|ending| ending["upload_bytes"].as_u64().expect("a number")).collect();
    let mut seen: Vec<u64> = origin.connections().iter().map(|connection| connection.count()).collect();
    said.sort_unstable();
    seen.sort_unstable();
    assert_eq!(said, seen);
    for ending in endings {
        assert_eq!(ending["upload_bytes"], ending["download_bytes"], "{ending}");
    }
}

#[tokio::test]
async fn plain_requests_are_counted_to_the_byte() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut wire = lab.device("device-1").wire().await;
    for framing in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "\r\n",
    ] {
        let method = if framing.len() > 2 { "POST" } else { "GET" };
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n{framing}",
            origin.url("/x?y=z"),
            origin.destination()
        );
        assert_eq!(wire.ask(head).await.expect("an answer").status, 200);
    }
    let said: u64 = lab.endings(3).await.iter().filter_map(|ending| ending["upload_bytes"].as_u64()).sum();
    assert_eq!(said, origin.bytes());
}

#[tokio::test]
async fn a_reconnect_or_another_protocol_refills_nothing() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(1_000)).await;
    for round in 0..5 {
        let over = if round % 2 == 0 { Over::Http1 } else { Over::Http2 };
        // A new certificate for the same device is the same device.
        let device = lab.device("device-1");
        device.tunnel_over(over, &origin.destination()).await.echoes(&[b'x'; 200]).await;
    }
    let refused = lab.device("device-1").refusal(&origin.destination()).await;
    assert_eq!(refused.reason(), "upload_budget_spent");
    assert_eq!(origin.total(), 1_000);
}

#[tokio::test]
async fn one_byte_sessions_cost_at_least_a_byte_each() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(20)).await;
    let mut opened = 0;
    while let Ok(mut tunnel) = lab.device("device-1").connect(&origin.destination()).await.expect("an answer")
    {
        tunnel.echoes(b"x").await;
        opened += 1;
        assert!(opened <= 20);
    }
    assert_eq!(opened, 20);
}

#[tokio::test]
async fn a_rate_of_sessions_can_be_capped() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.connects_per_second", 5);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut connection = lab.device("device-1").http2().await;
    let mut refused = None;
    let mut held: Vec<Tunnel> = Vec::new();
    for _ in 0..60 {
        match connection.connect(&origin.destination()).await.expect("an answer") {
            Ok(tunnel) => held.push(tunnel),
            Err(answer) => refused = Some(answer),
        }
    }
    let refused = refused.expect("some are refused");
    assert_eq!((refused.status, refused.reason().as_str()), (429, "rate_limited"));
    assert!(refused.field("retry-after").is_some());
    assert!(held.len() >= 5);
    lab.device("device-2").refusal(&origin.destination()).await;
}
