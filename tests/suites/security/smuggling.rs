//! Bytes that come before they are asked for, or behind what was refused.

use lab::device::connect_head;
use lab::{Behaviour, Capture, Draft, HttpOrigin, Lab};

#[tokio::test]
async fn early_bytes_are_not_forwarded_before_the_verdict() {
    let (listed, unlisted) = (Capture::start(Behaviour::Sink).await, Capture::start(Behaviour::Sink).await);
    let lab = Lab::with(Draft::of("device-1").raw(&listed.destination())).await;
    let mut wire = lab.device("device-1").wire().await;
    wire.send(format!("{}secret", connect_head(&unlisted.destination(), ""))).await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 403);
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!((listed.total(), unlisted.connections().len()), (0, 0));
}

#[tokio::test]
async fn a_request_in_the_same_write_as_an_allowed_one_is_decided_on_its_own() {
    let (listed, unlisted) = (HttpOrigin::start().await, HttpOrigin::start().await);
    let lab = Lab::with(Draft::of("device-1").raw(&listed.destination())).await;
    let get = |origin: &HttpOrigin| {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/"), origin.destination())
    };
    let mut wire = lab.device("device-1").wire().await;
    wire.send(format!("{}{}", get(&listed), get(&unlisted))).await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    assert_eq!(wire.answer().await.expect("an answer").status, 403);
    assert_eq!(unlisted.connections(), 0);
    assert_eq!(listed.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_nobody_read_is_not_the_next_request() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(300)).await;
    let inner = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/inner"), origin.destination());
    let outer = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\n{inner}",
        origin.url("/outer"),
        origin.destination()
    );
    let mut wire = lab.device("device-1").wire().await;
    assert_eq!(wire.ask(outer).await.expect("an answer").status, 413);
    assert_eq!(wire.rest().await.0, b"");
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn bytes_behind_an_upgrade_wait_until_the_origin_has_switched() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let smuggled =
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/smuggled"), origin.destination());
    // The origin does not switch: what was sent in the hope of it must not reach it as a request.
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{smuggled}",
        origin.url("/"),
        origin.destination()
    );
    let mut wire = lab.device("device-1").wire().await;
    assert_eq!(wire.ask(head).await.expect("an answer").status, 200);
    let received = origin.request(0).await;
    assert_eq!(received.field("upgrade"), Vec::<&str>::new());
    assert_eq!(received.field("http2-settings"), Vec::<&str>::new());
    // The second one is a request like any other: decided, evented, answered.
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    assert_eq!(lab.happened("agent.session_allowed", 2).await.len(), 2);
}

#[tokio::test]
async fn more_early_bytes_than_can_be_held_do_no_harm() {
    let origin = Capture::start(Behaviour::Sink).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut wire = lab.device("device-1").wire().await;
    let mut bytes = connect_head(&origin.destination(), "").into_bytes();
    bytes.extend(vec![b'e'; 300_000]);
    let _ = wire.send(&bytes).await;
    // Either all of them arrive, or the tunnel is refused: never some.
    if wire.answer().await.is_ok_and(|answer| answer.status == 200) {
        origin.connection(0).await.reaches(300_000).await;
        assert_eq!(origin.total(), 300_000);
    } else {
        assert_eq!(origin.total(), 0);
    }
}
