//! Responses on their way down over HTTP/1.

use super::*;

const GET10: &str = "GET http://a.example/x HTTP/1.0\r\n\r\n";

struct Row {
    request: String,
    reply: &'static str,
    closes: bool,
    heard: &'static str,
    persistent: bool,
    reuses: bool,
}

#[tokio::test]
async fn a_response_is_passed_on_with_framing_of_our_own() {
    let head = || "HEAD http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned();
    let table = [
        Row {
            request: get(""),
            reply: "HTTP/1.1 200 Fine\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nx: y\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 3\r\n\r\nabc",
            persistent: true,
            reuses: true,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: get("Connection: close\r\n"),
            reply: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 1\r\nconnection: close\r\n\r\na",
            persistent: false,
            reuses: false,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            closes: true,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ntransfer-encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n",
            persistent: true,
            reuses: false,
        },
        Row {
            request: GET10.to_owned(),
            reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\nconnection: close\r\n\r\nabc",
            persistent: false,
            reuses: true,
        },
        Row {
            request: "GET http://a.example/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            reply: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nabc",
            persistent: true,
            reuses: false,
        },
        Row {
            request: head(),
            reply: "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 3000\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: head(),
            reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 7\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 204 No Content\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nunasked",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 0\r\n\r\n",
            persistent: true,
            reuses: false,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nProxy-Status: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\nvia: 1.1 portcullis-gw-1\r\n\r\nHTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 0\r\n\r\n",
            persistent: true,
            reuses: true,
        },
        Row {
            request: GET10.to_owned(),
            reply: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            persistent: false,
            reuses: true,
        },
        Row {
            request: get(""),
            reply: "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nProxy-Status: forged\r\nTrailer: x\r\nUpgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
            closes: false,
            heard: "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 0\r\n\r\n",
            persistent: true,
            reuses: true,
        },
    ];
    for row in table {
        let (upstream, origin) = origin_after("\r\n\r\n", row.reply, row.closes);
        let told = forward(row.request.as_bytes(), upstream).await;
        assert!(told.is_whole(), "{:?}: {:?}", row.reply, told.result);
        assert_eq!(told.heard, row.heard, "{:?}", row.reply);
        assert_eq!(
            (told.persistent, told.reuses_upstream()),
            (row.persistent, row.reuses),
            "{:?}",
            row.reply
        );
        drop(told);
        origin.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_response_is_not_passed_on() {
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(70 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let table = [
        "hello\n",
        "<html>HTTP/0.9</html>",
        "HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        endless.as_str(),
        many.as_str(),
    ];
    for reply in table {
        let (upstream, origin) = origin_after("\r\n\r\n", reply, true);
        let told = forward(get("").as_bytes(), upstream).await;
        let shown: String = reply.chars().take(60).collect();
        assert!(!told.begun && told.heard.is_empty(), "{shown:?}: {}", told.heard);
        assert!(matches!(told.fault(), Fault::Upstream(_) | Fault::Response(_)), "{shown:?}");
        origin.await.unwrap();
    }
}

#[tokio::test]
async fn a_response_that_is_cut_off_never_looks_whole() {
    for (reply, heard) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "content-length: 9\r\n\r\nabc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "\r\n\r\n3\r\nabc\r\n"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x3\r\nevil\r\n",
            "\r\n\r\n3\r\nabc\r\n",
        ),
    ] {
        let (upstream, origin) = origin_after("\r\n\r\n", reply, true);
        let told = forward(get("").as_bytes(), upstream).await;
        assert!(told.begun && told.heard.ends_with(heard), "{reply:?}: {}", told.heard);
        assert!(matches!(told.fault(), Fault::Upstream(_)), "{reply:?}");
        origin.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_at_rest_carries_the_next_request() {
    let (upstream, mut far) = tokio::io::duplex(1024);
    let origin = tokio::spawn(async move {
        let (mut heard, mut answered) = (String::new(), 0);
        let mut bytes = Vec::new();
        while far.read_buf(&mut bytes).await.unwrap() > 0 {
            heard = String::from_utf8(bytes.clone()).unwrap();
            while heard.matches("\r\n\r\n").count() > answered {
                answered += 1;
                far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
        heard
    });
    let mut upstream = Some(upstream);
    for _ in 0..3 {
        let told = forward(get("").as_bytes(), upstream.take().unwrap()).await;
        assert!(told.heard.ends_with("\r\n\r\nok"));
        let Ok(Exchanged::Completed { upstream: rest, .. }) = told.result else { panic!("broken") };
        upstream = rest;
    }
    drop(upstream);
    assert_eq!(origin.await.unwrap().matches("GET /x HTTP/1.1\r\n").count(), 3);
}

/// Notes each write.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl tokio::io::AsyncWrite for Writes {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.push(bytes.to_vec());
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_short_response_leaves_in_one_write() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let (upstream, _heard) = origin(reply);
        let (forward, head, _) = read(get("").as_bytes());
        let outbound = Outbound::new(&forward, head.protocol, &pseudonym());
        let (mut nothing, mut left, mut writes) = (tokio::io::empty(), BytesMut::new(), Writes::default());
        let mut intake = Http1Intake::new(&mut nothing, &mut left, forward.framing);
        let mut answer = Http1Answer::new(&mut writes, head.protocol, head.persistent);
        exchange(upstream, &outbound, &mut intake, &mut answer).await.unwrap();
        assert_eq!(writes.0.len(), 1, "{reply}: {:?}", writes.0);
    }
}

#[tokio::test]
async fn neither_a_head_nor_a_piece_waits_for_a_slow_body() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let (mut device, mut gateway_side) = tokio::io::duplex(64 * 1024);
    let exchanged = tokio::spawn(async move {
        let (forward, head, _) = read(get("").as_bytes());
        let outbound = Outbound::new(&forward, head.protocol, &pseudonym());
        let (mut nothing, mut left) = (tokio::io::empty(), BytesMut::new());
        let mut intake = Http1Intake::new(&mut nothing, &mut left, forward.framing);
        let mut answer = Http1Answer::new(&mut gateway_side, head.protocol, head.persistent);
        exchange(near, &outbound, &mut intake, &mut answer).await.map(|_| ())
    });
    // An answer to nothing would be none: the request first.
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert!(far.read_buf(&mut asked).await.unwrap() > 0);
    }
    let mut heard = Vec::new();
    for (said, until) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", "\r\n\r\n"),
        ("abc", "\r\n\r\nabc"),
        ("def", "\r\n\r\nabcdef"),
    ] {
        far.write_all(said.as_bytes()).await.unwrap();
        while !heard.ends_with(until.as_bytes()) {
            let read = tokio::time::timeout(std::time::Duration::from_secs(10), device.read_buf(&mut heard));
            assert!(read.await.expect("it waits").unwrap() > 0);
        }
    }
    exchanged.await.unwrap().unwrap();
}
