//! Request targets: every spelling of a host that some proxy took for another one.
//!
//! Each row goes over HTTP/1.0 without `Host` (so that only the target can be at fault), and over HTTP/2 where HTTP/2 can
//! carry it at all.

use lab::{Behaviour, Capture, DnsOrigin, Draft, Lab, Over};

/// Targets that are no `host:port`: 400, nothing looked up, nothing dialled.
const MALFORMED: &[&str] = &[
    // No port, or none that is one.
    "a.test",
    "a.test:",
    "a.test:65536",
    "a.test:99999999999",
    "a.test:+443",
    "a.test:0443",
    "a.test:0",
    "a.test:-1",
    "a.test:443:443",
    "a.test:https",
    "a.test:4 43",
    // Somebody else in front of the host.
    "u@a.test:443",
    "evil:443@a.test:443",
    "u:p@a.test:443",
    "@a.test:443",
    // Another form of target.
    "http://a.test:443/",
    "/a.test:443",
    "*",
    "a.test:443/",
    "a.test:443?x",
    "a.test:443#x",
    ":443",
    "",
    // Brackets around what is no IPv6 address.
    "[a.test]:443",
    "[example.net.]:1337",
    "[127.0.0.1]:443",
    "[::1:443",
    "::1:443",
    "[::1]443",
    "[]:443",
    "[v1.a]:443",
    // Dots and labels.
    "a..b:443",
    "a.test..:443",
    ".a.test:443",
    ".:443",
    "..:443",
    "-a.test:443",
    "a-.test:443",
    "a.-b.test:443",
    // Numbers that a resolver takes for an address.
    "0177.0.0.1:443",
    "0x7f.1:443",
    "127.1:443",
    "2130706433:443",
    "017700000001:443",
    "0x7f000001:443",
    "1.2.3:443",
    "256.1.1.1:443",
    "1.2.3.4.5:443",
    "01.2.3.4:443",
    "127.0.0.0x1:443",
    "a.123:443",
    "a.0x1f:443",
    // Names that are not what they look like.
    "xn--a:443",
    "xn--abc.test:443",
    "xn--.test:443",
    "xn--a-.test:443",
    // Escapes are never decoded.
    "a%2etest:443",
    "%61.test:443",
    "a%00b.test:443",
    "a.test%00:443",
    "a.test:%34%34%33",
    // Bytes outside of letters, digits and hyphens.
    "a;b.test:443",
    "a'b.test:443",
    "a,b.test:443",
    "*.test:443",
    "a\"b.test:443",
    "a<b.test:443",
    "a|b.test:443",
    "a\\b.test:443",
    "a!b.test:443",
    "a$b.test:443",
    "a(b).test:443",
    "a{b}.test:443",
    "a~b.test:443",
    "a+b.test:443",
    // Zone identifiers.
    "[fe80::1%25eth0]:443",
    "[::1%25.example.com]:80",
    "[::1%lo]:443",
    "fe80::1%eth0:443",
];

async fn lab(dns: &DnsOrigin) -> Lab {
    Lab::builder()
        .settings(|settings| {
            settings.set("dns.servers", vec![dns.address().to_string()]);
        })
        .manifest(Draft::of("device-1").raw("a.test:443").raw("origin.test:443"))
        .start()
        .await
}

#[tokio::test]
async fn a_target_that_is_no_host_and_port_is_a_400_and_nobody_is_asked() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns).await;
    let device = lab.device("device-1");
    let long = [
        format!("{}.test:443", "a".repeat(64)),
        format!("{}test:443", "a.".repeat(125)),
        format!("{}:443", "a".repeat(300)),
    ];
    for target in MALFORMED.iter().copied().chain(long.iter().map(String::as_str)) {
        let answer = device.ask(format!("CONNECT {target} HTTP/1.0\r\n\r\n")).await;
        let answer = answer.unwrap_or_else(|fault| panic!("no answer to {target:?}: {fault}"));
        assert_eq!(answer.status, 400, "{target:?}: {answer:?}");
        assert!(
            ["malformed_destination", "malformed_request"].contains(&answer.reason().as_str()),
            "{target:?}"
        );
        assert_eq!(answer.proxy_error(), Some("http_request_error"), "{target:?}");
    }
    assert_eq!(dns.asked(), Vec::<String>::new());
    // A well-formed one gets as far as the dial.
    assert_eq!(device.refusal("origin.test:443").await.reason(), "connection_refused");
}

#[tokio::test]
async fn raw_bytes_in_a_target_are_a_400() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns).await;
    let device = lab.device("device-1");
    let hosts: [&[u8]; 12] = [
        b"a\0.test",
        b"evil\0.a.test",
        b"a\t.test",
        b"a\x7f.test",
        b"a\x80.test",
        "а.test".as_bytes(),
        "０x7f.1".as_bytes(),
        "①②⑦.0.0.1".as_bytes(),
        "a。test".as_bytes(),
        "ａ.test".as_bytes(),
        "a\u{ad}.test".as_bytes(),
        b"a\x0b.test",
    ];
    for host in hosts {
        let head = [b"CONNECT ", host, b":443 HTTP/1.0\r\n\r\n"].concat();
        let answer = device.ask(&head).await.unwrap_or_else(|fault| panic!("{host:?}: {fault}"));
        assert_eq!(answer.status, 400, "{host:?}");
        let head = [b"GET http://", host, b"/ HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat();
        assert_eq!(device.ask(&head).await.expect("an answer").status, 400, "{host:?}");
    }
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn the_authority_of_plain_http_is_read_as_strictly() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns).await;
    let device = lab.device("device-1");
    for target in [
        "http://a.test:80@evil.test/",
        "http://u@a.test/",
        "http://a.test:65536/",
        "http://a.test:+80/",
        "http://a.test:0/",
        "http://a..test/",
        "http://[a.test]/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://a%2etest/",
        "http:///x",
        "http://a;b.test/",
        "http://[::1%25lo]/",
        "http://a.test\\@evil.test/",
        "http:a.test/",
        "http:/a.test/",
        "ftp://a.test/",
        "https://a.test/",
        "ws://a.test/",
        "wss://a.test/",
        "file:///etc/passwd",
        "gopher://a.test/",
        "//a.test/",
        "/",
        "a.test/",
        "HTTP//a.test/",
        "http://a.test/a b",
        "http://a.test/#fragment",
    ] {
        let answer = device.ask(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        let answer = answer.unwrap_or_else(|fault| panic!("no answer to {target:?}: {fault}"));
        assert_eq!(answer.status, 400, "{target:?}: {answer:?}");
    }
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn http2_authorities_are_read_as_strictly_and_the_connection_survives() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns).await;
    let mut connection = lab.device("device-1").http2().await;
    let mut sibling = connection.connect("origin.test:443").await;
    for target in [
        "a.test",
        "a.test:65536",
        "a.test:0443",
        "a.test:0",
        "u@a.test:443",
        "evil:443@a.test:443",
        "[a.test]:443",
        "a..b:443",
        "a.test..:443",
        "0177.0.0.1:443",
        "127.1:443",
        "2130706433:443",
        "xn--a:443",
        "a;b.test:443",
        "a'b.test:443",
        "*.test:443",
        "[::1%25lo]:443",
        "-a.test:443",
    ] {
        match connection.connect(target).await {
            Ok(Err(answer)) => assert_eq!(answer.status, 400, "{target:?}"),
            Ok(Ok(_)) => panic!("{target:?} was let through"),
            // A reset of the one stream is a refusal too.
            Err(_) => assert_eq!(connection.ending(), None, "{target:?} ended the whole connection"),
        }
    }
    assert!(sibling.as_mut().is_ok_and(|outcome| outcome.is_ok() || outcome.is_err()));
    assert_eq!(connection.ending(), None);
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn well_formed_names_are_accepted_in_every_spelling() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    let origin = Capture::start(Behaviour::Echo).await;
    let names = [
        "1password.com",
        "3.basecamp.com",
        "xn--bcher-kva.example",
        "a-b--c.example",
        "r3---sn-4g5e6nls.example.com",
        "1.2.3.4.example",
        "localhost",
        "single",
        longest.as_str(),
    ];
    let lab = Lab::builder()
        .settings(|settings| {
            names.iter().for_each(|name| {
                settings.host(name, &["127.0.0.1"]);
            });
        })
        .manifest(names.iter().fold(Draft::of("device-1"), |draft, name| draft.raw(&origin.at(name))))
        .start()
        .await;
    let device = lab.device("device-1");
    for name in names {
        for spelling in [name.to_owned(), name.to_uppercase(), format!("{name}.")] {
            for over in Over::BOTH {
                device.tunnel_over(over, &origin.at(&spelling)).await.echoes(b"accepted").await;
            }
        }
    }
    for allowed in lab.events().of("agent.session_allowed") {
        let destination = allowed["destination"].as_str().expect("a destination");
        let host = destination.rsplit_once(':').expect("host:port").0;
        assert!(names.contains(&host), "{host} is written in one canonical form");
    }
}

#[tokio::test]
async fn a_name_off_the_list_is_neither_looked_up_nor_dialled() {
    let dns = DnsOrigin::start().await;
    let lab = lab(&dns).await;
    let device = lab.device("device-1");
    for target in [
        "b.test:443",
        "a.test:444",
        "a.test.evil.test:443",
        "localhost:443",
        "metadata:80",
        "printer.local:631",
    ] {
        for over in Over::BOTH {
            let refused = device.connect_over(over, target).await.expect("an answer").expect_err("refused");
            assert_eq!(
                (refused.status, refused.reason().as_str()),
                (403, "destination_not_listed"),
                "{target}"
            );
        }
    }
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn single_labels_and_search_domains_are_never_expanded() {
    let dns = DnsOrigin::start().await;
    let lab = Lab::builder()
        .settings(|settings| {
            settings.set("dns.servers", vec![dns.address().to_string()]);
        })
        .manifest(Draft::of("device-1").raw("intranet:443"))
        .start()
        .await;
    lab.device("device-1").refusal("intranet:443").await;
    for asked in dns.asked() {
        assert_eq!(asked.to_ascii_lowercase(), "intranet", "no search domain is appended");
    }
}
