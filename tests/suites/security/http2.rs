//! HTTP/2: malformed streams hurt only themselves, and floods are cut off.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use lab::wait::eventually;
use lab::{Behaviour, Capture, Draft, Lab};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    (origin, lab)
}

#[tokio::test]
async fn a_malformed_connect_ends_its_own_stream_and_no_other() {
    let (origin, lab) = setup().await;
    let destination = origin.destination();
    let mut connection = lab.device("device-1").http2().await;
    let mut sibling = connection.connect(&destination).await.expect("an answer").expect("allowed");
    let rows: [(&str, &[(&str, &str)]); 5] = [
        ("a declared length", &[("content-length", "5")]),
        ("another Host", &[("host", "elsewhere.test:443")]),
        ("two Hosts", &[("host", "origin.test"), ("host", "origin.test")]),
        ("TE other than trailers", &[("te", "gzip")]),
        (
            "two proxy authorizations",
            &[("proxy-authorization", "Basic YTo="), ("proxy-authorization", "Basic YTo=")],
        ),
    ];
    for (what, fields) in rows {
        match connection.connect_with(&destination, fields).await {
            Ok(Err(answer)) => assert_eq!(answer.status, 400, "{what}"),
            Ok(Ok(_)) => panic!("{what} was let through"),
            Err(_) => {}
        }
        assert_eq!(connection.ending(), None, "{what} ended the connection");
        sibling.echoes(b"still here").await;
    }
}

#[tokio::test]
async fn requests_without_an_authority_or_of_another_scheme_are_refused() {
    let (origin, lab) = setup().await;
    let mut connection = lab.device("device-1").http2().await;
    for uri in [format!("https://{}/", origin.destination()), format!("ftp://{}/", origin.destination())] {
        let answer = connection.plain("GET", &uri, b"").await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400), "{uri}");
    }
    assert_eq!(connection.ending(), None);
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn extended_connect_is_neither_offered_nor_served() {
    let (origin, lab) = setup().await;
    let mut connection = lab.device("device-1").http2().await;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("http://{}/chat", origin.destination()))
        .body(())
        .expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let outcome = connection.request(request, false).await;
    assert!(outcome.is_err() || outcome.is_ok_and(|(response, ..)| response.status().as_u16() >= 400));
    assert_eq!(origin.connections().len(), 0);
}

#[tokio::test]
async fn padding_is_no_upload_and_framing_is_not_counted() {
    let (origin, lab) = setup().await;
    let mut connection = lab.device("device-1").http2().await;
    let mut tunnel = connection.connect(&origin.destination()).await.expect("an answer").expect("allowed");
    for _ in 0..100 {
        tunnel.send(b"x").await.expect("one byte a frame");
    }
    tunnel.exactly(100).await.expect("the echo");
    drop(tunnel);
    assert_eq!(lab.endings(1).await[0]["upload_bytes"], 100);
}

/// A frame as it goes over the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const DATA: u8 = 0;
const CONTINUATION: u8 = 9;

/// `:method CONNECT`, `:authority <destination>`, as literal fields.
fn connect_block(destination: &str) -> Vec<u8> {
    let mut block = vec![0x02, 7];
    block.extend(b"CONNECT");
    block.extend([0x01, u8::try_from(destination.len()).expect("a short name")]);
    block.extend(destination.as_bytes());
    block
}

/// Sends a flood on a connection of its own until the gateway ends that or everything is sent; a tunnel beside it
/// has to go on working.
async fn flood(
    lab: &Lab,
    origin: &Capture,
    what: &str,
    frames: impl Iterator<Item = Vec<u8>>,
    must_end: bool,
) {
    let mut beside = lab.device("device-1").tunnel(&origin.destination()).await;
    let before = lab.gateway().resident();
    let stream = lab.device("device-1").handshake(&["h2"]).await.expect("a handshake");
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sink = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        let mut all = 0;
        while let Ok(count @ 1..) = reading.read(&mut buffer).await {
            all += count;
        }
        all
    });
    let outcome: std::io::Result<()> = async {
        writing.write_all(PREFACE).await?;
        writing.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        for frame in frames {
            writing.write_all(&frame).await?;
        }
        writing.flush().await
    }
    .await;
    if must_end {
        let within = Duration::from_secs(10);
        eventually(within, &format!("the gateway ends the connection: {what}"), async || {
            (outcome.is_err() || sink.is_finished()).then_some(())
        })
        .await;
    }
    beside.echoes(b"unharmed").await;
    let grown = lab.gateway().resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{what}: memory grew by {grown} bytes");
    sink.abort();
}

#[tokio::test]
async fn floods_end_their_own_connection_and_cost_nobody_else() {
    let (origin, lab) = setup().await;
    let block = connect_block(&origin.destination());
    let open_and_reset = |number: u32| {
        let stream = number * 2 + 1;
        [frame(HEADERS, 4, stream, &block), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    flood(&lab, &origin, "rapid reset", (0..20_000).map(open_and_reset), true).await;

    let continuations = std::iter::once(frame(HEADERS, 0, 1, &block))
        .chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[0x00, 1, b'x', 1, b'y']), 50_000));
    flood(&lab, &origin, "endless header block", continuations, true).await;

    let empty = std::iter::once(frame(HEADERS, 4, 1, &block))
        .chain(std::iter::repeat_n(frame(DATA, 0, 1, &[]), 50_000));
    flood(&lab, &origin, "empty DATA", empty, true).await;

    let zero_windows = (0..20_000_u32).map(|number| {
        let stream = number * 2 + 1;
        [frame(HEADERS, 4, stream, &block), frame(8, 0, stream, &0_u32.to_be_bytes())].concat()
    });
    flood(&lab, &origin, "resets provoked from the gateway", zero_windows, true).await;

    let pings = std::iter::repeat_n(frame(PING, 0, 0, b"12345678"), 50_000);
    flood(&lab, &origin, "PING", pings, false).await;
    let settings = std::iter::repeat_n(frame(SETTINGS, 0, 0, &[]), 50_000);
    flood(&lab, &origin, "SETTINGS", settings, false).await;
    lab.live(0).await;
}

#[tokio::test]
async fn streams_beyond_the_limit_wait_or_are_refused_and_a_window_of_zero_holds_only_itself() {
    let origin = Capture::start(Behaviour::Pour).await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("limits.http2_streams", 20);
        })
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .start()
        .await;
    let mut connection = lab.device("device-1").http2().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connection.connect(&origin.destination()).await.expect("an answer").expect("allowed"));
    }
    lab.live(20).await;
    let before = lab.gateway().resident();
    let mut other = lab.device("device-1").tunnel(&origin.destination()).await;
    for _ in 0..200 {
        other.some().await.expect("the other connection flows");
    }
    let grown = lab.gateway().resident().saturating_sub(before);
    assert!(grown < 64 << 20, "held streams made memory grow by {grown} bytes");
    drop(Bytes::new());
}
