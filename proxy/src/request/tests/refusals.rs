//! Heads that must be refused, by class.

use config::Reason::{
    self, HeadTooLarge, MalformedDestination as Destination, MalformedRequest as Request, MethodNotAllowed,
    RequestLoop,
};

use super::parse;

fn check(head: impl AsRef<[u8]>, expected: Reason) {
    let head = head.as_ref();
    let shown = String::from_utf8_lossy(head).chars().take(200).collect::<String>();
    match parse(head) {
        Err(refused) => assert_eq!(refused.reason, expected, "{shown:?}: {refused}"),
        Ok(read) => panic!("{shown:?} was read: {read:?}"),
    }
}

/// A GET with these lines behind its Host field.
fn with_fields(lines: &str) -> String {
    format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n\r\n")
}

#[test]
fn lines_in_doubt() {
    for head in [
        "GET http://a.example/ HTTP/1.1\nHost: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: a\rb\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\r\nHost: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\rX: y\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: a\0b\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: a\x0bb\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: a\x7fb\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: y\r\n folded\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\tfolded\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\n Host: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost : a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost\t: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nno colon\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n: no name\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX(y): z\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX\u{fc}: z\r\n\r\n",
        "\r\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "\nGET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ] {
        check(head, Request);
    }
}

#[test]
fn request_lines_in_doubt() {
    for line in [
        "GET  http://a.example/ HTTP/1.1",
        "GET\thttp://a.example/ HTTP/1.1",
        "GET http://a.example/\tHTTP/1.1",
        "GET http://a.example/  HTTP/1.1",
        "GET http://a.example/ HTTP/1.1 ",
        " GET http://a.example/ HTTP/1.1",
        "GET http://a.example/ x HTTP/1.1",
        "GET http://a.example/",
        "GET",
        "CONNECT a.example:443",
        "GET http://a.example/ HTTP/0.9",
        "GET http://a.example/ HTTP/1.2",
        "GET http://a.example/ HTTP/2.0",
        "GET http://a.example/ HTTP/2",
        "GET http://a.example/ HTTP/1.10",
        "GET http://a.example/ http/1.1",
        "GET http://a.example/ HTTP/1.1\x00",
        "PRI * HTTP/2.0",
        "GET http://a.example/\u{fc} HTTP/1.1",
        "GET http://a.example/\x01 HTTP/1.1",
    ] {
        check(format!("{line}\r\nHost: a.example\r\n\r\n"), Request);
    }
}

#[test]
fn a_violation_is_noticed_before_the_head_is_whole() {
    for start in
        ["GET /\n", "GET http://a/ HTTP/1.1\r\nHost: a\n", "\x16\x03\x01", "GET http://a/ HTTP/1.1\r\n x"]
    {
        let whole = [start.as_bytes(), b"\r\n"].concat();
        check(whole, Request);
    }
    check("\x16\x03\x01", Request);
}

#[test]
fn methods_that_are_not_served() {
    for method in ["TRACE", "TRACK", "PROPFIND", "get", "Get", "GETT", "G", "FOO-BAR", "DEBUG"] {
        check(format!("{method} http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"), MethodNotAllowed);
    }
    check("OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", MethodNotAllowed);
    for method in ["connect", "Connect", "CONNECt", "G(T", "\"GET\""] {
        check(format!("{method} a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"), Request);
    }
}

#[test]
fn authorities_of_connect_that_are_none() {
    let long = format!("{}:443", "a.".repeat(300));
    for target in [
        "a",
        "a:",
        "a:65536",
        "a:99999999999",
        "a:+443",
        "a:-1",
        "a:0443",
        "a:0",
        "a:00",
        "a:44x",
        "u@a:443",
        "evil:443@a:443",
        "http://a:443/",
        "http://a:443",
        "/a:443",
        "a:443/",
        "a:443?x",
        "a:443#x",
        "*",
        ":443",
        "[a]:443",
        "[example.net.]:1337",
        "[1.2.3.4]:443",
        "[::1]",
        "[::1]443",
        "::1:443",
        "[::1:443",
        "a]:443",
        "a.com..:443",
        "a..b:443",
        ".a:443",
        ".:443",
        "..:443",
        "0177.0.0.1:443",
        "0x7f.1:443",
        "127.1:443",
        "2130706433:443",
        "017700000001:443",
        "1.2.3.4.:443",
        "0x7f.0.0.1.:80",
        "xn--a:443",
        "xn--:443",
        "xn--abc-:443",
        "a%2eb:443",
        "%61:443",
        "a%00b:443",
        "a\\b:443",
        "a;b:443",
        "a'b:443",
        "a,b:443",
        "*.com:443",
        "a\"b:443",
        "a<b:443",
        "-a.example:443",
        "a-.example:443",
        "[fe80::1%25eth0]:443",
        "[::1%25.example.com]:80",
        "[::1%lo]:80",
        long.as_str(),
    ] {
        check(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"), Destination);
    }
    let label = "l".repeat(64);
    check(format!("CONNECT {label}.example:443 HTTP/1.1\r\nHost: a\r\n\r\n"), Destination);
    let name = "n".repeat(60);
    check(format!("CONNECT {name}.{name}.{name}.{name}.{name}:443 HTTP/1.1\r\nHost: a\r\n\r\n"), Destination);
    check("CONNECT a\u{3002}b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Request);
    check("CONNECT a\0b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Request);
}

#[test]
fn absolute_targets_that_are_none() {
    for target in [
        "https://a.example/",
        "ftp://a.example/",
        "ws://a.example/",
        "wss://a.example/",
        "file:///etc/passwd",
        "gopher://a/",
        "/",
        "/x",
        "*",
        "a.example:80",
        "//a.example/",
        "http:/a.example/",
        "http:a.example",
        "http",
        "htt://a.example/",
        "http://a.example/#f",
        "http://a.example#f",
    ] {
        check(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"), Request);
    }
    for target in [
        "http:///",
        "http://",
        "http://?x",
        "http://u@a.example/",
        "http://allowed:80@evil.example/",
        "http://a.example:/",
        "http://a.example:65536/",
        "http://a.example:080/",
        "http://[a]/",
        "http://127.1/",
        "http://a%2eb/",
        "http://a\\@b.example/",
        "http://a..b/",
        "http://http://a.example/",
        "http://a.example\\/x",
        "http://[::1%25lo]/",
        "http://a.example;b/",
    ] {
        check(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"), Destination);
    }
    check("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", Request);
}

#[test]
fn host_fields_that_do_not_fit() {
    for host in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a.example:443\r\nhost: a.example:443\r\n",
        "Host:\r\n",
        "Host: a@b/c\r\n",
    ] {
        check(format!("CONNECT a.example:443 HTTP/1.1\r\n{host}\r\n"), Request);
        check(format!("GET http://a.example/ HTTP/1.1\r\n{host}\r\n"), Request);
    }
    for host in [
        "b.example:443",
        "a.example:80",
        "b.example",
        "a.example:0443",
        "www.a.example:443",
        "a.example:443, b",
        "a.example:",
        "u@a.example:443",
    ] {
        check(format!("CONNECT a.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"), Request);
        check(format!("CONNECT a.example:443 HTTP/1.0\r\nHost: {host}\r\n\r\n"), Request);
    }
    for host in ["a b", "a,b", "a/b", "http://a", "[a]", "a:b", "a:", "\u{fc}.example", "127.1", "a..b"] {
        check(format!("GET http://a.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), Request);
    }
    check("GET http://a.example/ HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Request);
}

#[test]
fn framings_in_doubt() {
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: 3,",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 1e3",
        "Content-Length: 3.0",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999",
        "Content-Length: \u{663}",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \x0bchunked",
    ] {
        check(with_fields(lines), Request);
    }
    check("POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Request);
}

#[test]
fn connect_with_content() {
    for lines in [
        "Content-Length: 5",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: x",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ] {
        check(format!("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n{lines}\r\n\r\n"), Request);
    }
}

#[test]
fn expectations_that_cannot_be_met() {
    for lines in [
        "Expect: 200-ok",
        "Expect: 100-continue, x",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect:",
    ] {
        check(with_fields(lines), Request);
    }
}

#[test]
fn upgrades_with_something_behind_them() {
    let upgrade = "Host: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n";
    check(format!("GET http://a/ HTTP/1.1\r\n{upgrade}Content-Length: 5\r\n\r\n"), Request);
    check(format!("GET http://a/ HTTP/1.1\r\n{upgrade}Content-Length: 0\r\n\r\n"), Request);
    check(format!("GET http://a/ HTTP/1.1\r\n{upgrade}Transfer-Encoding: chunked\r\n\r\n"), Request);
    check(format!("POST http://a/ HTTP/1.1\r\n{upgrade}\r\n"), Request);
    check(with_fields("Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade"), Request);
}

#[test]
fn requests_that_have_been_here() {
    for via in [
        "1.1 portcullis-gw-1",
        "1.0 fred, 1.1 Portcullis-GW-1 (x)",
        "HTTP/1.1  portcullis-gw-1",
        "2 a,1.1 portcullis-gw-1,1.1 b",
    ] {
        check(with_fields(&format!("Via: {via}")), RequestLoop);
        check(with_fields(&format!("Via: 1.1 x\r\nVia: {via}")), RequestLoop);
        check(format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nVia: {via}\r\n\r\n"), RequestLoop);
    }
}

#[test]
fn user_names_that_are_no_agent() {
    for value in ["Basic !!!", "Basic YQ", "Basic gP8=", "Basic YSBi", "Basic YQBi", "Basic YQ0KYg=="] {
        check(with_fields(&format!("Proxy-Authorization: {value}")), Request);
    }
    check(with_fields("Proxy-Authorization: Basic YQ==\r\nProxy-Authorization: Basic Yg=="), Request);
}

#[test]
fn heads_over_their_limits() {
    let fields: String = (0..65).map(|n| format!("x-{n}: y\r\n")).collect();
    check(format!("GET http://a.example/ HTTP/1.1\r\n{fields}\r\n"), HeadTooLarge);

    let start = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nx: ";
    let filler = "y".repeat(16 * 1024 - start.len() - 3);
    check(format!("{start}{filler}\r\n\r\n"), HeadTooLarge);
    check("G".repeat(16 * 1024), HeadTooLarge);
    check(
        format!("GET http://a.example/{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(8 * 1024)),
        HeadTooLarge,
    );
}
