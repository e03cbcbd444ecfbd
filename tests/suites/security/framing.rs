//! Request lines, fields and framing that two readers could take for two different requests.

use lab::{Draft, HttpOrigin, Lab};

async fn lab(origin: &HttpOrigin) -> Lab {
    Lab::with(Draft::of("device-1").raw(&origin.destination())).await
}

#[tokio::test]
async fn a_head_that_is_not_beyond_doubt_is_refused_and_the_connection_ends() {
    let origin = HttpOrigin::start().await;
    let lab = lab(&origin).await;
    let (url, host) = (origin.url("/"), origin.destination());
    let table = [
        ("a bare LF", format!("GET {url} HTTP/1.1\nHost: {host}\n\n")),
        ("a bare LF in the fields", format!("GET {url} HTTP/1.1\r\nHost: {host}\nX: y\r\n\r\n")),
        ("a bare CR", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n\r\n")),
        ("NUL in a value", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX: a\0b\r\n\r\n")),
        ("a folded line", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX: a\r\n b\r\n\r\n")),
        ("a blank before the colon", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX : a\r\n\r\n")),
        ("a blank before the name", format!("GET {url} HTTP/1.1\r\n Host: {host}\r\n\r\n")),
        ("a line without colon", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX\r\n\r\n")),
        ("an empty name", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n: a\r\n\r\n")),
        ("an empty line in front", format!("\r\nGET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        ("two blanks", format!("GET  {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        ("a tab", format!("GET\t{url} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
        ("no version", format!("GET {url}\r\nHost: {host}\r\n\r\n")),
        ("HTTP/0.9", format!("GET {url} HTTP/0.9\r\nHost: {host}\r\n\r\n")),
        ("HTTP/1.2", format!("GET {url} HTTP/1.2\r\nHost: {host}\r\n\r\n")),
        ("HTTP/2.0", format!("GET {url} HTTP/2.0\r\nHost: {host}\r\n\r\n")),
        ("no Host", format!("GET {url} HTTP/1.1\r\nX: y\r\n\r\n")),
        ("two Hosts", format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n")),
        ("a Host that is none", format!("GET {url} HTTP/1.1\r\nHost: a@b/c\r\n\r\n")),
        (
            "CL and TE",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "two CL",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"
            ),
        ),
        (
            "two CL that differ",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
            ),
        ),
        ("a list of CL", format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5, 5\r\n\r\nhello")),
        ("a signed CL", format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\nhello")),
        ("a hex CL", format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0x5\r\n\r\nhello")),
        (
            "a huge CL",
            format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 18446744073709551616\r\n\r\n"),
        ),
        ("an empty CL", format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nContent-Length:\r\n\r\n")),
        (
            "TE twice",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "gzip, chunked",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "chunked, gzip",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "xchunked",
            format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        ("identity", format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: identity\r\n\r\n")),
        (
            "TE with VT",
            format!("POST {url} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
        ),
        ("TE over 1.0", format!("POST {url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        (
            "a body behind CONNECT",
            format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"),
        ),
        (
            "chunks behind CONNECT",
            format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("CONNECT with another Host", format!("CONNECT {host} HTTP/1.1\r\nHost: elsewhere.test:443\r\n\r\n")),
        ("CONNECT without Host", format!("CONNECT {host} HTTP/1.1\r\n\r\n")),
        (
            "a WebSocket with a body",
            format!(
                "GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"
            ),
        ),
    ];
    for (what, head) in table {
        let mut wire = lab.device("device-1").wire().await;
        let answer = wire.ask(head).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "malformed_request"),
            "{what}: {answer:?}"
        );
        assert_eq!(wire.rest().await.0, b"", "{what}: nothing behind it is read as a request");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn methods_are_case_sensitive_and_few() {
    let origin = HttpOrigin::start().await;
    let lab = lab(&origin).await;
    let (url, host) = (origin.url("/"), origin.destination());
    for (line, status) in [
        (format!("connect {host} HTTP/1.1"), vec![400, 405]),
        (format!("TRACE {url} HTTP/1.1"), vec![405]),
        (format!("BREW {url} HTTP/1.1"), vec![405]),
        (format!("get {url} HTTP/1.1"), vec![400, 405]),
        ("PRI * HTTP/2.0".to_owned(), vec![400]),
    ] {
        let answer =
            lab.device("device-1").ask(format!("{line}\r\nHost: {host}\r\n\r\n")).await.expect("an answer");
        assert!(status.contains(&answer.status), "{line}: {answer:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_broken_chunk_ends_both_connections_and_nothing_behind_it_is_forwarded() {
    let origin = HttpOrigin::start().await;
    let lab = lab(&origin).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        origin.url("/"),
        origin.destination()
    );
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0_3\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabcXX0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3 \nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
    ] {
        let smuggled =
            format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.url("/smuggled"), origin.destination());
        let mut wire = lab.device("device-1").wire().await;
        wire.send(format!("{head}{chunks}{smuggled}")).await.expect("sent");
        if let Ok(answer) = wire.answer().await {
            assert_eq!(answer.status, 400, "{chunks:?}: {answer:?}");
        }
        wire.rest().await;
    }
    assert_eq!(origin.requests().len(), 0, "no request was ever completed");
}

#[tokio::test]
async fn the_host_field_never_decides_where_plain_http_goes() {
    let (right, wrong) = (HttpOrigin::start().await, HttpOrigin::start().await);
    let lab = Lab::with(Draft::of("device-1").raw(&right.destination()).raw(&wrong.destination())).await;
    let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", right.url("/"), wrong.destination());
    assert_eq!(lab.device("device-1").ask(head).await.expect("an answer").status, 200);
    assert_eq!(right.request(0).await.field("host"), [right.destination()]);
    assert_eq!(wrong.connections(), 0);
}

#[tokio::test]
async fn fields_that_claim_an_identity_do_not_travel() {
    let origin = HttpOrigin::start().await;
    let lab = lab(&origin).await;
    let fields = "Proxy-Authorization: Basic Y293b3JrLXYxLjA6eA==\r\nProxy-Foo: bar\r\nForwarded: for=1.2.3.4\r\n\
                  X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil.test\r\n";
    let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", origin.url("/"), origin.destination());
    assert_eq!(lab.device("device-1").ask(head).await.expect("an answer").status, 200);
    let received = origin.request(0).await;
    for gone in ["proxy-authorization", "proxy-foo", "forwarded", "x-forwarded-for", "x-forwarded-host"] {
        assert_eq!(received.field(gone), Vec::<&str>::new(), "{gone}");
    }
}

#[tokio::test]
async fn connection_cannot_take_away_what_every_hop_needs() {
    let origin = HttpOrigin::start().await;
    let lab = lab(&origin).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: Host, Content-Length, connection, X-Identity\r\n\
         X-Identity: me\r\nContent-Length: 5\r\n\r\nhello",
        origin.url("/"),
        origin.destination()
    );
    let answer = lab.device("device-1").ask(head).await.expect("an answer");
    if answer.status == 200 {
        let received = origin.request(0).await;
        assert_eq!(received.field("host"), [origin.destination()]);
        assert_eq!(received.body, b"hello");
        assert_eq!(received.field("x-identity"), Vec::<&str>::new());
    } else {
        assert_eq!(answer.status, 400);
    }
}
