//! WebSocket upgrades over plain HTTP: a tunnel once the origin has agreed, and not before.

use lab::{Draft, End, HttpOrigin, Lab, Wire};

fn upgrade(origin: &HttpOrigin) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        origin.url("/chat"),
        origin.destination()
    )
}

async fn switched(lab: &Lab, origin: &HttpOrigin) -> Wire {
    let mut wire = lab.device("device-1").wire().await;
    let answer = wire.ask(upgrade(origin)).await.expect("an answer");
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    wire
}

#[tokio::test]
async fn a_websocket_is_switched_and_frames_go_both_ways() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let mut wire = switched(&lab, &origin).await;
    wire.send(b"\x81\x85\0\0\0\0hello").await.expect("sent");
    assert_eq!(wire.exactly(11).await.expect("the echo"), b"\x81\x85\0\0\0\0hello");
    wire.finish().await.expect("finished");
    assert_eq!(wire.rest().await.1, End::Finished);
    assert_eq!(lab.endings(1).await.len(), 1);
    let received = origin.request(0).await;
    assert_eq!(received.field("sec-websocket-key"), ["dGhlIHNhbXBsZSBub25jZQ=="]);
}

#[tokio::test]
async fn frames_count_against_the_limit_together_with_the_request() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).per_session(5_000)).await;
    let mut wire = switched(&lab, &origin).await;
    let _ = wire.send(vec![b'w'; 20_000]).await;
    assert_eq!(wire.rest().await.1, End::Broken);
    assert_eq!(lab.ending("upload_limit_exceeded").await["upload_bytes"], 5_000);
    origin.quiet(1).await;
    assert_eq!(origin.bytes(), 5_000, "head and frames together are exactly the limit");
}

#[tokio::test]
async fn an_origin_that_declines_is_passed_on_and_nothing_is_switched() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let plain = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        origin.url("/"),
        origin.destination()
    );
    let mut wire = lab.device("device-1").wire().await;
    assert_eq!(wire.ask(plain).await.expect("an answer").status, 200, "other upgrades are not passed on");
    assert_eq!(origin.request(0).await.field("upgrade"), Vec::<&str>::new());
}
