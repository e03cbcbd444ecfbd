//! What devices send: request heads, authorities, and the first flight inside a tunnel.

use config::Destination;
use proxy::inspect::{FirstFlight, Progress};
use proxy::request::{Pseudonym, RequestHead, Rules};

use crate::instructions;

const CONNECT: &[u8] = b"CONNECT service-57.example.com:443 HTTP/1.1\r\nHost: service-57.example.com:443\r\n\
    Proxy-Authorization: Basic Y293b3JrLXYxLjA6eA==\r\nUser-Agent: agent/1.0\r\nProxy-Connection: keep-alive\r\n\r\n";

const FORWARD: &[u8] = b"GET http://service-57.example.com/path/to/it?query=1 HTTP/1.1\r\nHost: service-57.example.com\r\n\
    User-Agent: agent/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n";

pub(crate) fn heads() {
    instructions("parse_authority", 1000, || {
        Destination::parse_authority(b"Service-57.Example.com:443").expect("an authority")
    });
    let rules = Rules::new(Pseudonym::of_gateway("gw-1"));
    for (name, head) in [("parse_connect_head", CONNECT), ("parse_forward_head", FORWARD)] {
        instructions(name, 1000, || RequestHead::parse(head, &rules).expect("a head").expect("a whole one"));
    }
}

pub(crate) fn client_hello() {
    // The seed of a fuzzer, which begins with two bytes of the fuzzer's own.
    let (_, flight) = include_bytes!("../../fuzz/seeds/client_hello/one_record").split_at(2);
    instructions("inspect_client_hello", 1000, || {
        let progress = FirstFlight::new().feed(flight);
        assert!(matches!(progress, Progress::Tls(_)), "{progress:?}");
    });
}
