//! WebSocket: a switch only after the origin has agreed to it.

use super::*;

const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";

#[tokio::test]
async fn a_switch_hands_both_streams_over() {
    let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\nearly frame";
    let (upstream, origin) = origin(reply);
    let told = forward(format!("{}frames", get(UPGRADE)).as_bytes(), upstream).await;
    assert_eq!(told.left, "frames");
    assert!(!told.persistent);
    assert_eq!(
        told.heard,
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: y\r\nvia: 1.1 portcullis-gw-1\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    );
    let Ok(Exchanged::Switched { mut upstream, early }) = told.result else { panic!("not switched") };
    let mut first = early.to_vec();
    while first.len() < "early frame".len() {
        upstream.read_buf(&mut first).await.unwrap();
    }
    assert_eq!(first, b"early frame");
    upstream.write_all(b"raw").await.unwrap();
    drop(upstream);
    let heard = origin.await.unwrap();
    assert!(heard.ends_with("\r\n\r\nraw"), "{heard}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: x\r\n"] {
        assert!(heard.contains(field), "{heard}");
    }
}

#[tokio::test]
async fn nothing_behind_the_head_is_sent_before_the_switch() {
    let (upstream, origin) = origin("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let told = forward(format!("{}GET /smuggled HTTP/1.1\r\n\r\n", get(UPGRADE)).as_bytes(), upstream).await;
    assert!(told.is_whole());
    assert!(told.left.starts_with(b"GET /smuggled"));
    drop(told);
    assert!(!origin.await.unwrap().contains("smuggled"));
}

#[tokio::test]
async fn a_switch_to_anything_else_is_a_fault() {
    for upgrade in
        ["Upgrade: h2c\r\n", "", "Upgrade: websocket, h2c\r\n", "Upgrade: websocket\r\nUpgrade: h2c\r\n"]
    {
        let (upstream, origin) =
            origin(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{upgrade}\r\n"));
        let told = forward(get(UPGRADE).as_bytes(), upstream).await;
        assert!(!told.begun);
        assert!(matches!(told.fault(), Fault::Response(_)), "{upgrade:?}");
        origin.await.unwrap();
    }
}
