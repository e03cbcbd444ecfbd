//! Bodies on their way up, and what breaks them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::BodyFault;
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str =
    "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_chunked_body_is_sent_in_chunks_of_our_own() {
    let body = "5;ext=1\r\nhello\r\n00006\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let (upstream, heard) = origin_after("0\r\n\r\n", OK, false);
    let told = forward(format!("{CHUNKED}{body}").as_bytes(), upstream).await;
    assert!(told.is_whole());
    drop(told);
    let heard = heard.await.unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    assert_eq!(body, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
}

#[tokio::test]
async fn the_next_request_is_left_alone() {
    let next = "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    for first in [
        get(""),
        "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
        format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let (upstream, heard) = origin(OK);
        let told = forward(format!("{first}{next}").as_bytes(), upstream).await;
        assert!(told.is_whole() && told.persistent);
        assert_eq!(told.left, next);
        drop(told);
        assert!(!heard.await.unwrap().contains("evil"), "{first:?}");
    }
}

#[tokio::test]
async fn a_body_arrives_in_pieces() {
    let (mut device, mut reader) = tokio::io::duplex(16);
    let (upstream, heard) = origin_after("wxyz", OK, false);
    let request = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 26\r\n\r\nabc";
    let sending = tokio::spawn(async move {
        device.write_all(b"defghijklmnopqrstuvwxyz").await.unwrap();
        device
    });
    let told = forward_from(request.as_bytes(), &mut reader, upstream).await;
    assert!(told.is_whole() && told.reuses_upstream());
    drop((told, sending.await.unwrap()));
    assert!(heard.await.unwrap().ends_with("\r\n\r\nabcdefghijklmnopqrstuvwxyz"));
}

#[tokio::test]
async fn nothing_behind_a_malformed_chunk_is_sent_and_the_body_is_not_ended() {
    for bad in ["0x3\r\nEVIL\r\n0\r\n\r\n", "3\nEVIL", "4\r\nEVIL\n0\r\n\r\n", "fffffffffffffffff\r\nEVIL"] {
        let (upstream, heard) = origin(OK);
        let told = forward(format!("{CHUNKED}4\r\ngood\r\n{bad}").as_bytes(), upstream).await;
        assert!(!told.begun);
        assert!(matches!(told.fault(), Fault::Body(BodyFault::Malformed(_))), "{bad:?}");
        heard.abort();
    }
}

#[tokio::test]
async fn a_truncated_upload_never_looks_whole() {
    for (request, what) in [
        (format!("{CHUNKED}5\r\nhello\r\n"), "chunked"),
        (
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nhello".to_owned(),
            "sized",
        ),
    ] {
        let (upstream, mut far) = tokio::io::duplex(64 * 1024);
        let told = forward(request.as_bytes(), upstream).await;
        assert!(matches!(told.fault(), Fault::Body(BodyFault::Truncated)), "{what}");
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert!(!heard.ends_with("0\r\n\r\n"), "{what}: {heard:?}");
    }
}

#[tokio::test]
async fn an_early_answer_leaves_the_rest_of_the_body_where_it_is() {
    let (_device, mut reader) = tokio::io::duplex(16);
    let request = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nabc";
    let (upstream, heard) = origin("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let told = forward_from(request.as_bytes(), &mut reader, upstream).await;
    assert!(matches!(told.result, Ok(Exchanged::Completed { upstream: None, uploaded: false })));
    assert!(told.heard.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    heard.await.unwrap();
}

#[tokio::test]
async fn the_device_sends_its_body_after_the_origin_said_continue() {
    let (mut device, mut reader) = tokio::io::duplex(64);
    let (upstream, mut far) = tokio::io::duplex(1024);
    let request = "PUT http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let origin = tokio::spawn(async move {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut heard).await.unwrap();
        }
        far.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        device.write_all(b"body").await.unwrap();
        while !heard.ends_with(b"body") {
            far.read_buf(&mut heard).await.unwrap();
        }
        far.write_all(OK.as_bytes()).await.unwrap();
        (String::from_utf8(heard).unwrap(), far, device)
    });
    let told = forward_from(request.as_bytes(), &mut reader, upstream).await;
    assert!(told.is_whole());
    assert!(
        told.heard
            .starts_with("HTTP/1.1 100 Continue\r\nvia: 1.1 portcullis-gw-1\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{}",
        told.heard
    );
    assert!(origin.await.unwrap().0.contains("expect: 100-continue\r\n"));
}

#[tokio::test]
async fn an_unread_body_is_drained_within_bounds() {
    let body = "x".repeat(1000);
    for (limit, expected) in [(2000, true), (999, false), (1000, true)] {
        let (mut buffer, mut reader) = (BytesMut::from(body.as_bytes()), tokio::io::empty());
        let framing = crate::request::Framing::Sized(1000);
        let mut intake = Http1Intake::new(&mut reader, &mut buffer, framing);
        assert_eq!(intake.drain(limit).await, expected, "{limit}");
    }
    let (mut buffer, mut reader) = (BytesMut::from("short"), tokio::io::empty());
    let mut intake = Http1Intake::new(&mut reader, &mut buffer, crate::request::Framing::Sized(9));
    assert!(!intake.drain(2000).await);
}

/// A stream that takes so many bytes and then refuses with an error of its own.
struct Metered {
    inner: DuplexStream,
    left: usize,
}

#[derive(Debug)]
struct Spent;

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("spent")
    }
}

impl std::error::Error for Spent {}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let granted = self.left.min(buf.len());
        if granted == 0 {
            return Poll::Ready(Err(io::Error::other(Spent)));
        }
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, &buf[..granted]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_the_stream_raises_is_found_in_the_fault_and_no_byte_more_is_written() {
    for left in [0, 1, 40, 100, 500] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let request = format!(
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n{}",
            "x".repeat(1000)
        );
        let (forward, head, used) = read(request.as_bytes());
        let outbound = Outbound::new(&forward, head.protocol, &pseudonym());
        let (mut buffer, mut reader) = (BytesMut::from(&request.as_bytes()[used..]), tokio::io::empty());
        let mut intake = Http1Intake::new(&mut reader, &mut buffer, forward.framing);
        let mut heard = Vec::new();
        let mut answer = Http1Answer::new(&mut heard, head.protocol, true);
        let fault =
            exchange(Metered { inner: near, left }, &outbound, &mut intake, &mut answer).await.err().unwrap();
        let raised = fault.io().and_then(io::Error::get_ref).is_some_and(|error| error.is::<Spent>());
        assert!(raised, "{left}: {fault:?}");
        assert!(!fault.is_stale());
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent.len(), left);
    }
}

#[tokio::test]
async fn a_closed_upstream_is_stale() {
    let (upstream, far) = tokio::io::duplex(64);
    drop(far);
    let told = forward(get("").as_bytes(), upstream).await;
    assert!(!told.begun && told.fault().is_stale());

    let (upstream, heard) = origin_after("\r\n\r\n", "", true);
    let told = forward(get("").as_bytes(), upstream).await;
    assert!(!told.begun && told.fault().is_stale());
    heard.await.unwrap();
}

#[tokio::test]
async fn dropping_the_exchange_drops_the_upstream() {
    let (upstream, mut far) = tokio::io::duplex(1024);
    let request = get("");
    let mut running = Box::pin(forward(request.as_bytes(), upstream));
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        tokio::select! {
            _ = &mut running => panic!("it ended by itself"),
            read = far.read_buf(&mut heard) => assert!(read.unwrap() > 0),
        }
    }
    drop(running);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}
