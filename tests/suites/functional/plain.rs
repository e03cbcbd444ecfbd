//! Plain HTTP through the gateway: keep-alive, pooled connections, framing, hop-by-hop fields.

use std::time::Duration;

use lab::wait::eventually;
use lab::{Draft, HttpOrigin, Lab};

async fn lab_for(origin: &HttpOrigin) -> Lab {
    Lab::with(Draft::of("device-1").raw(&origin.destination())).await
}

fn get(origin: &HttpOrigin, path: &str, fields: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", origin.url(path), origin.destination())
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_so_does_the_one_upstream() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut wire = lab.device("device-1").wire().await;
    for path in ["/one", "/two?x=%2F..&y", "/three"] {
        let answer = wire.ask(get(&origin, path, "")).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    }
    let lines: Vec<String> = origin.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(lines, ["GET /one HTTP/1.1", "GET /two?x=%2F..&y HTTP/1.1", "GET /three HTTP/1.1"]);
    assert_eq!(origin.connections(), 1, "the upstream connection is kept");
    assert_eq!(lab.endings(3).await.len(), 3, "each request is a session of its own");
}

#[tokio::test]
async fn upstream_connections_are_never_shared_between_devices() {
    let origin = HttpOrigin::start().await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    for (device, connections) in [("device-1", 1), ("device-2", 2), ("device-1", 2)] {
        let answer = lab.device(device).ask(get(&origin, "/", "")).await.expect("an answer");
        assert_eq!((answer.status, origin.connections()), (200, connections), "{device}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_decided_one_by_one() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut wire = lab.device("device-1").wire().await;
    let smuggled = "GET http://unlisted.test/ HTTP/1.1\r\nHost: unlisted.test\r\n\r\n";
    let all = format!("{}{}{smuggled}", get(&origin, "/1", ""), get(&origin, "/2", ""));
    wire.send(all).await.expect("sent");
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    let refused = wire.answer().await.expect("an answer");
    assert_eq!((refused.status, refused.reason().as_str()), (403, "destination_not_listed"));
    assert_eq!(origin.requests().len(), 2, "the third was never forwarded");
}

#[tokio::test]
async fn bodies_arrive_whole_whichever_way_they_are_framed() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut wire = lab.device("device-1").wire().await;
    let head = |framing: &str| {
        format!("POST {} HTTP/1.1\r\nHost: {}\r\n{framing}\r\n\r\n", origin.url("/"), origin.destination())
    };
    let sized = format!("{}0123456789", head("Content-Length: 10"));
    assert_eq!(wire.ask(sized).await.expect("an answer").status, 200);
    let chunked = format!("{}4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n", head("Transfer-Encoding: chunked"));
    assert_eq!(wire.ask(chunked).await.expect("an answer").status, 200);
    let trailed = format!(
        "{}a\r\n0123456789\r\n0\r\nContent-Length: 5\r\nHost: evil.test\r\n\r\n",
        head("Transfer-Encoding: chunked")
    );
    assert_eq!(wire.ask(trailed).await.expect("an answer").status, 200);
    assert_eq!(wire.ask(get(&origin, "/after", "")).await.expect("an answer").status, 200);
    let requests = origin.requests();
    for request in &requests[..3] {
        assert_eq!(request.body, b"0123456789", "{}", request.head);
    }
    assert_eq!(requests[3].line(), "GET /after HTTP/1.1", "nothing of a body is taken for a request");
}

#[tokio::test]
async fn http2_requests_are_forwarded_as_http1() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut connection = lab.device("device-1").http2().await;
    let answer = connection.plain("GET", &origin.url("/two"), b"").await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    let answer = connection.plain("POST", &origin.url("/body"), &[b'x'; 100_000]).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let received = origin.request(1).await;
    assert_eq!((received.line(), received.body.len()), ("POST /body HTTP/1.1", 100_000));
    assert_eq!(received.field("host"), [origin.destination()]);
}

#[tokio::test]
async fn fields_of_one_hop_stay_on_it() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let fields = "Connection: X-Listed, close\r\nX-Listed: gone\r\nProxy-Authorization: Basic Y293b3JrLXYxLjA6eA==\r\n\
                  Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\n\
                  Upgrade: h2c\r\nX-Kept: stays\r\n";
    let answer = lab.device("device-1").ask(get(&origin, "/", fields)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let received = origin.request(0).await;
    for gone in
        ["x-listed", "proxy-authorization", "proxy-connection", "keep-alive", "te", "trailer", "upgrade"]
    {
        assert_eq!(received.field(gone), Vec::<&str>::new(), "{gone} in {}", received.head);
    }
    assert_eq!(received.field("x-kept"), ["stays"]);
    assert_eq!(received.field("host"), [origin.destination()], "Host comes from the target");
    assert!(received.field("via").iter().any(|via| via.contains("portcullis")), "{}", received.head);
}

#[tokio::test]
async fn a_request_that_was_here_before_is_a_loop() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    lab.device("device-1").ask(get(&origin, "/", "")).await.expect("an answer");
    let via = origin.request(0).await.field("via").join(", ");
    let answer = lab.device("device-1").ask(get(&origin, "/", &format!("Via: {via}\r\n"))).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.reason().as_str()), (508, "request_loop"));
}

#[tokio::test]
async fn a_close_asked_for_by_the_device_is_kept_to() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut wire = lab.device("device-1").wire().await;
    let answer = wire.ask(get(&origin, "/", "Connection: close\r\n")).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(wire.rest().await.0, b"");
}

#[tokio::test]
async fn an_origin_that_answers_nonsense_is_a_502() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!";
    for nonsense in ["hello, world\r\n\r\n", huge.as_str(), twice, "HTTP/0.9 fine\r\n\r\n"] {
        origin.answer_with(nonsense);
        let answer = lab.device("device-1").ask(get(&origin, "/", "")).await.expect("an answer");
        let start = &nonsense[..nonsense.len().min(40)];
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream_fault"), "{start:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_origin_closed_is_not_used_again() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    origin.answer_with("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    let mut wire = lab.device("device-1").wire().await;
    for expected in 1..=3 {
        let answer = wire.ask(get(&origin, "/", "")).await.expect("an answer");
        assert_eq!(answer.status, 200);
        let within = Duration::from_secs(5);
        eventually(within, "a connection of its own", async || {
            (origin.connections() == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_body_that_waits_for_permission_gets_it() {
    let origin = HttpOrigin::start().await;
    let lab = lab_for(&origin).await;
    let mut wire = lab.device("device-1").wire().await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        origin.url("/"),
        origin.destination()
    );
    assert_eq!(wire.ask(head).await.expect("an interim answer").status, 100);
    assert_eq!(wire.ask("hello").await.expect("an answer").status, 200);
    assert_eq!(origin.request(0).await.body, b"hello");
}
