use config::{AgentName, Reason};
use http::Method;

use super::{Forward, Framing, Protocol, Pseudonym, Refused, Request, RequestHead, Rules};

mod http2;
mod properties;
mod refusals;

fn rules() -> Rules {
    Rules::new(Pseudonym::of_gateway("gw-1"))
}

fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Refused> {
    RequestHead::parse(bytes, &rules())
}

fn read(text: &str) -> RequestHead {
    let (head, consumed) = parse(text.as_bytes()).unwrap().unwrap_or_else(|| panic!("not whole: {text:?}"));
    assert_eq!(consumed, text.len());
    head
}

fn forward(text: &str) -> Forward {
    match read(text).request {
        Request::Forward(forward) => *forward,
        Request::Connect(_) => panic!("a tunnel: {text:?}"),
    }
}

#[test]
fn connect_is_read_in_the_forms_that_real_programs_send() {
    let table = [
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "a.example:443"),
        ("CONNECT A.Example.:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "a.example:443"),
        ("CONNECT a.example:443 HTTP/1.0\r\n\r\n", "a.example:443"),
        ("CONNECT a.example:443 HTTP/1.0\r\nHost: a.example:443\r\n\r\n", "a.example:443"),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\n\r\n",
            "a.example:443",
        ),
        (
            "CONNECT a.example:443 HTTP/1.0\r\nHost: a.example\r\nContent-Length: 0\r\nPragma: no-cache\r\n\r\n",
            "a.example:443",
        ),
        (
            "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:DB8::1]:8443\r\nUser-Agent: curl/8\r\n\r\n",
            "[2001:db8::1]:8443",
        ),
        ("CONNECT 192.0.2.1:22 HTTP/1.1\r\nHost:192.0.2.1:22\t \r\n\r\n", "192.0.2.1:22"),
        ("CONNECT 1password.com:443 HTTP/1.1\r\nHost: 1password.com:443\r\n\r\n", "1password.com:443"),
        (
            "CONNECT xn--bcher-kva.example:443 HTTP/1.1\r\nhost: xn--bcher-kva.example:443\r\n\r\n",
            "xn--bcher-kva.example:443",
        ),
    ];
    for (text, destination) in table {
        let Request::Connect(read) = read(text).request else { panic!("not a tunnel: {text:?}") };
        assert_eq!(read.to_string(), destination, "{text:?}");
    }
}

#[test]
fn an_absolute_target_is_taken_apart_and_its_path_left_as_it_is() {
    let table = [
        ("http://a.example/", "a.example:80", "/"),
        ("http://a.example", "a.example:80", "/"),
        ("http://a.example?q=1", "a.example:80", "/?q=1"),
        ("HTTP://A.EXAMPLE:8080/x/../y%2e?q=a|b&c=%00", "a.example:8080", "/x/../y%2e?q=a|b&c=%00"),
        ("http://a.example//evil.example/x", "a.example:80", "//evil.example/x"),
        ("http://a.example/@evil.example:80", "a.example:80", "/@evil.example:80"),
        ("http://[2001:db8::1]/x", "[2001:db8::1]:80", "/x"),
        ("http://192.0.2.7:81/x?http://b.example/", "192.0.2.7:81", "/x?http://b.example/"),
    ];
    for (target, destination, path) in table {
        let forward = forward(&format!("GET {target} HTTP/1.1\r\nHost: whatever.example\r\n\r\n"));
        assert_eq!(
            (forward.destination.to_string().as_str(), forward.path.as_str()),
            (destination, path),
            "{target}"
        );
    }
    let options = forward("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((options.method, options.path.as_str()), (Method::OPTIONS, "*"));
}

#[test]
fn every_method_that_is_served_is_read() {
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let text = format!("{method} http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(forward(&text).method.as_str(), method);
    }
}

#[test]
fn the_framing_is_read() {
    let table = [
        ("HTTP/1.1\r\nHost: a.example", Framing::Empty),
        ("HTTP/1.0", Framing::Empty),
        ("HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0", Framing::Sized(0)),
        ("HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18446744073709551615", Framing::Sized(u64::MAX)),
        ("HTTP/1.0\r\ncontent-length: 7", Framing::Sized(7)),
        ("HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked", Framing::Chunked),
        ("HTTP/1.1\r\nHost: a.example\r\ntransfer-encoding: \tCHUNKED ", Framing::Chunked),
    ];
    for (rest, expected) in table {
        assert_eq!(forward(&format!("POST http://a.example/ {rest}\r\n\r\n")).framing, expected, "{rest:?}");
    }
}

#[test]
fn a_head_is_whole_only_with_its_last_byte_and_takes_nothing_behind_it() {
    let head = "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\n";
    for end in 0..head.len() {
        assert_eq!(parse(&head.as_bytes()[..end]), Ok(None), "{end}");
    }
    let followed = format!("{head}abcGET http://b.example/ HTTP/1.1\r\n");
    let (_, consumed) = parse(followed.as_bytes()).unwrap().unwrap();
    assert_eq!(consumed, head.len());
}

#[test]
fn the_agent_is_the_proxy_user_name() {
    let table = [
        ("Basic Y293b3JrLXYxLjA6eA==", Some("cowork-v1.0")), // cowork-v1.0:x
        ("basic Y293b3JrLXYxLjA=", Some("cowork-v1.0")),     // without password
        ("BASIC   Y293b3JrLXYxLjA6YTpi", Some("cowork-v1.0")), // a:b is the password
        ("Basic Og==", None),
        ("Bearer abc", None),
        ("Negotiate", None),
    ];
    for (value, expected) in table {
        let text = format!(
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: {value}\r\n\r\n"
        );
        let agent = read(&text).requested_agent;
        assert_eq!(agent.as_ref().map(AgentName::as_str), expected, "{value}");
    }
}

#[test]
fn persistence_follows_version_and_connection() {
    let table = [
        ("HTTP/1.1\r\nHost: a.example", true),
        ("HTTP/1.1\r\nHost: a.example\r\nConnection: x, Close", false),
        ("HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: close", false),
        ("HTTP/1.0", false),
        ("HTTP/1.0\r\nConnection: keep-alive", true),
        ("HTTP/1.0\r\nProxy-Connection: Keep-Alive", true),
    ];
    for (rest, expected) in table {
        assert_eq!(read(&format!("GET http://a.example/ {rest}\r\n\r\n")).persistent, expected, "{rest:?}");
    }
}

#[test]
fn only_a_body_can_be_waited_for() {
    let table = [
        ("HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-Continue", true),
        ("HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue", true),
        ("HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue", false),
        ("HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue", false),
    ];
    for (rest, expected) in table {
        let text = format!("POST http://a.example/ {rest}\r\n\r\n");
        assert_eq!(forward(&text).expects_continue, expected, "{rest:?}");
    }
}

#[test]
fn websocket_is_the_only_upgrade_that_is_seen() {
    let table = [
        ("GET", "HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade", true),
        ("GET", "HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, upgrade", true),
        ("GET", "HTTP/1.1\r\nHost: a\r\nUpgrade: websocket", false),
        ("GET", "HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, h2c\r\nConnection: upgrade", false),
        ("POST", "HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 4", false),
        ("GET", "HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade", false),
    ];
    for (method, rest, expected) in table {
        assert_eq!(forward(&format!("{method} http://a/ {rest}\r\n\r\n")).websocket, expected, "{rest:?}");
    }
}

#[test]
fn foreign_via_entries_are_no_loop() {
    for via in
        ["1.1 portcullis-gw-2", "1.0 fred, 1.1 p.example.net (portcullis-gw-1)", "1.1 xportcullis-gw-1"]
    {
        read(&format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nVia: {via}\r\n\r\n"));
    }
}

#[test]
fn a_head_at_its_limits_is_read() {
    let fields: String = (0..63).map(|n| format!("x-{n}: y\r\n")).collect();
    read(&format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));

    let target = format!("http://a.example/{}", "x".repeat(8 * 1024 - 17));
    read(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));

    let start = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nx: ";
    let filler = "y".repeat(16 * 1024 - start.len() - 4);
    read(&format!("{start}{filler}\r\n\r\n"));

    let label = "l".repeat(63);
    let name = format!("{label}.{label}.{label}.{}", "l".repeat(61));
    read(&format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n"));
}

#[test]
fn a_value_outside_ascii_is_opaque() {
    let head = [&b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: \xc3\xbc\t\xff"[..], b"\r\n\r\n"]
        .concat();
    let (head, _) = parse(&head).unwrap().unwrap();
    let Request::Forward(forward) = head.request else { panic!("a tunnel") };
    assert_eq!(forward.headers["x"].as_bytes(), b"\xc3\xbc\t\xff");
}

#[test]
fn the_protocol_is_kept() {
    assert_eq!(read("CONNECT a:1 HTTP/1.0\r\n\r\n").protocol, Protocol::Http10);
    assert_eq!(read("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").protocol, Protocol::Http11);
}

#[test]
fn a_pseudonym_is_always_a_token() {
    assert_eq!(Pseudonym::of_gateway("gw-1.eu").as_str(), "portcullis-gw-1.eu");
    assert_eq!(Pseudonym::of_gateway("a b,c\r\nü").as_str(), "portcullis-a-b-c---");
}

#[test]
fn a_refusal_quotes_nothing() {
    let refused = parse(b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err();
    assert_eq!(refused.reason, Reason::MalformedRequest);
    assert_eq!(refused.to_string(), "the target is not an absolute http URI");
}
