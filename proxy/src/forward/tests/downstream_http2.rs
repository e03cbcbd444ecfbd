//! The same exchange with an HTTP/2 stream as the downstream.

use bytes::Bytes;
use http::{Request as Message, Response};

use super::super::{Answer, Http2Answer, Http2Intake};
use super::*;

/// Sends one request over HTTP/2 through an exchange with this upstream.
async fn round_trip(
    message: Message<()>,
    body: Option<&'static [u8]>,
    upstream: DuplexStream,
) -> (Result<(Response<()>, Vec<u8>), h2::Error>, Result<Exchanged<DuplexStream>, Fault>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let gateway = tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (message, respond) = connection.accept().await.unwrap().unwrap();
        let driving = tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (parts, mut stream) = message.into_parts();
        let head = RequestHead::from_h2(&parts, stream.is_end_stream(), &Rules::new(pseudonym())).unwrap();
        let Request::Forward(forward) = head.request else { panic!("a tunnel") };
        let outbound = Outbound::new(&forward, Protocol::Http2, &pseudonym());
        let mut answer = Http2Answer::new(respond);
        let result = exchange(upstream, &outbound, &mut Http2Intake::new(&mut stream), &mut answer).await;
        assert!(answer.begun() || result.is_err());
        drop((answer, stream));
        (result, driving)
    });
    let (mut client, connection) = h2::client::handshake(near).await.unwrap();
    let driving = tokio::spawn(connection);
    let (response, mut sending) = client.send_request(message, body.is_none()).unwrap();
    if let Some(body) = body {
        sending.send_data(Bytes::from_static(body), true).unwrap();
    }
    let heard = async {
        let (parts, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok((Response::from_parts(parts, ()), bytes))
    }
    .await;
    drop(client);
    let (result, gateway_driving) = gateway.await.unwrap();
    gateway_driving.abort();
    driving.abort();
    (heard, result)
}

fn message(method: &str) -> Message<()> {
    Message::builder().method(method).uri("http://a.example/x?y").header("x", "y").body(()).unwrap()
}

#[tokio::test]
async fn a_response_is_passed_on_over_http2() {
    let big = "z".repeat(200_000);
    for (reply, expected) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "abc".to_owned()),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
            "abc".to_owned(),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), String::new()),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{big}"), big.clone()),
    ] {
        let (upstream, origin) = origin(reply);
        let (heard, result) = round_trip(message("GET"), None, upstream).await;
        let (response, body) = heard.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(response.headers()["via"], "1.1 portcullis-gw-1");
        assert!(!response.headers().contains_key("connection"));
        assert!(matches!(result, Ok(Exchanged::Completed { uploaded: true, .. })));
        drop(result);
        assert_eq!(
            origin.await.unwrap(),
            "GET /x?y HTTP/1.1\r\nhost: a.example\r\nx: y\r\nvia: 2 portcullis-gw-1\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn a_body_over_http2_is_sent_in_chunks_or_by_its_length() {
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (upstream, origin) = origin_after("0\r\n\r\n", reply, false);
    let (heard, result) = round_trip(message("POST"), Some(b"hello"), upstream).await;
    assert!(heard.unwrap().1.is_empty());
    drop(result);
    assert!(origin.await.unwrap().ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));

    let mut sized = message("POST");
    sized.headers_mut().insert("content-length", 5.into());
    let (upstream, origin) = origin_after("hello", reply, false);
    let (heard, result) = round_trip(sized, Some(b"hello"), upstream).await;
    heard.unwrap();
    drop(result);
    let sent = origin.await.unwrap();
    assert!(sent.contains("content-length: 5\r\n") && sent.ends_with("\r\n\r\nhello"), "{sent}");
}

#[tokio::test]
async fn a_response_that_is_cut_off_resets_the_stream() {
    let (upstream, origin) =
        origin_after("\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true);
    let (heard, result) = round_trip(message("GET"), None, upstream).await;
    assert!(heard.unwrap_err().is_reset());
    assert!(matches!(result, Err(Fault::Upstream(_))));
    origin.await.unwrap();
}
