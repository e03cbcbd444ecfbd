use super::*;

fn outbound(request: &str) -> Outbound {
    let (forward, head, _) = read(request.as_bytes());
    Outbound::new(&forward, head.protocol, &pseudonym())
}

/// The head as it reaches the origin.
async fn sent(request: &str) -> String {
    let (upstream, heard) = origin("HTTP/1.1 204 No Content\r\n\r\n");
    let told = forward(request.as_bytes(), upstream).await;
    assert!(told.result.is_ok(), "{:?}", told.result);
    drop(told);
    heard.await.unwrap()
}

#[tokio::test]
async fn what_is_sent_is_built_anew() {
    let table = [
        (get(""), "GET /x HTTP/1.1\r\nhost: a.example\r\nvia: 1.1 portcullis-gw-1\r\n\r\n"),
        (
            "GET HTTP://A.Example:8080?q HTTP/1.1\r\nHost: other.example\r\nAccept: */*\r\n\r\n".to_owned(),
            "GET /?q HTTP/1.1\r\nhost: a.example:8080\r\naccept: */*\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
        ),
        (
            "GET http://[2001:db8::1]//b HTTP/1.0\r\nVia: 1.0 x\r\n\r\n".to_owned(),
            "GET //b HTTP/1.1\r\nhost: [2001:db8::1]\r\nvia: 1.0 x\r\nvia: 1.0 portcullis-gw-1\r\n\r\n",
        ),
        (
            "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 3\r\n\r\n".to_owned(),
            "OPTIONS * HTTP/1.1\r\nhost: a.example\r\nmax-forwards: 2\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
        ),
        (
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 007\r\n\r\n1234567"
                .to_owned(),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 7\r\nvia: 1.1 portcullis-gw-1\r\n\r\n1234567",
        ),
        (
            "PUT http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "PUT / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
        ),
        (
            "DELETE http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n".to_owned(),
            "DELETE / HTTP/1.1\r\nhost: a.example\r\nvia: 1.1 portcullis-gw-1\r\n\r\n",
        ),
    ];
    for (request, expected) in table {
        assert_eq!(sent(&request).await, expected, "{request:?}");
    }
}

#[tokio::test]
async fn fields_of_this_hop_and_of_other_proxies_are_not_sent() {
    let table = [
        "Connection: close",
        "Connection: X-Secret, close\r\nX-Secret: 1",
        "Connection: connection",
        "Connection: ,, x-a ,\r\nConnection: X-B\r\nx-a: 1\r\nx-b: 2",
        "Proxy-Authorization: Basic YTpi",
        "Proxy-Connection: keep-alive",
        "Proxy-Anything: x",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Trailer: x",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
        "HTTP2-Settings: AAMAAABk",
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: b\r\nX-Forwarded-Proto: https",
        "X-Real-IP: 10.0.0.1",
        "X-Portcullis-Device: device-1",
    ];
    let plain = sent(&get("")).await;
    for fields in table {
        assert_eq!(sent(&get(&format!("{fields}\r\n"))).await, plain, "{fields:?}");
    }
}

#[tokio::test]
async fn connection_cannot_take_away_address_length_or_trace() {
    let request = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nVia: 1.1 x\r\n\
                   Connection: Host, Content-Length, Via\r\n\r\nab";
    let expected = "POST / HTTP/1.1\r\nhost: a.example\r\nvia: 1.1 x\r\nvia: 1.1 portcullis-gw-1\r\ncontent-length: 2\r\n\r\nab";
    let mut lines: Vec<String> = sent(request).await.split("\r\n").map(str::to_owned).collect();
    let mut wanted: Vec<String> = expected.split("\r\n").map(str::to_owned).collect();
    lines.sort();
    wanted.sort();
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn the_declared_length_is_what_reaches_the_origin() {
    let body = "b".repeat(300);
    let table = [
        get(""),
        get(
            "X-Empty:\r\nX-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\nX-Two: 1\r\nX-Two: 2\r\n",
        ),
        get("Cookie: a=b\r\nAccept-Language: de\r\nConnection: X-Gone\r\nX-Gone: 1\r\n"),
        format!("POST http://a.example:81/p?q HTTP/1.0\r\nContent-Length: 300\r\n\r\n{body}"),
        "HEAD http://192.0.2.1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 10\r\n\r\n".to_owned(),
        "PUT http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ];
    for request in table {
        let declared = outbound(&request).declared_length();
        assert_eq!(declared, Some(sent(&request).await.len() as u64), "{request:?}");
    }
}

#[tokio::test]
async fn a_chunked_request_declares_its_head_only() {
    let request = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let outbound = outbound(request);
    let sent = sent(request).await;
    assert_eq!(outbound.declared_length(), None);
    assert_eq!(outbound.head_length(), sent.find("\r\n\r\n").unwrap() as u64 + 4);
}

#[test]
fn only_requests_without_body_and_effect_can_be_repeated() {
    let table = [
        (get(""), true),
        ("HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), true),
        ("DELETE http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), true),
        ("PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(), true),
        ("PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n".to_owned(), false),
        ("POST http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), false),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), false),
        (get("Upgrade: websocket\r\nConnection: upgrade\r\n"), false),
    ];
    for (request, expected) in table {
        assert_eq!(outbound(&request).is_replayable(), expected, "{request:?}");
    }
}
