use std::sync::Arc;

use config::{Destination, Host, Reason, TlsExpectation};

use super::{ClientHello, FirstFlight, MAX_FLIGHT_BYTES, Malformed, Progress, Verdict, judge};

fn vector(content: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), vector(content)].concat()
}

fn name_entry(kind: u8, name: &[u8]) -> Vec<u8> {
    [vec![kind], vector(name)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector(&name_entry(0, name)))
}

/// A ClientHello body around these extensions (`None`: without the extension block).
fn body(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![3, 3];
    bytes.extend_from_slice(&[7; 32]);
    bytes.push(32);
    bytes.extend_from_slice(&[9; 32]);
    bytes.extend(vector(&[0x13, 1, 0x13, 2]));
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend(extensions.map(vector).unwrap_or_default());
    bytes
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, length[1], length[2], length[3]], body].concat()
}

fn record(payload: &[u8]) -> Vec<u8> {
    [vec![22, 3, 1], vector(payload)].concat()
}

fn flight(extensions: &[u8]) -> Vec<u8> {
    record(&message(&body(Some(extensions))))
}

fn look(bytes: &[u8]) -> Progress {
    FirstFlight::new().feed(bytes)
}

fn look_bytewise(bytes: &[u8]) -> Progress {
    let mut flight = FirstFlight::new();
    bytes.iter().fold(Progress::NeedMore, |_, byte| flight.feed(&[*byte]))
}

fn named(name: &str) -> Progress {
    let Host::Name(name) = Host::parse_wire(name.as_bytes()).unwrap() else { panic!("not a name") };
    Progress::Tls(ClientHello { sni: Some(name), ech: false })
}

fn unnamed() -> Progress {
    Progress::Tls(ClientHello { sni: None, ech: false })
}

#[test]
fn the_name_is_read_in_canonical_form() {
    for spelled in ["api.example.com", "API.Example.COM", "api.example.com."] {
        assert_eq!(look(&flight(&server_name(spelled.as_bytes()))), named("api.example.com"), "{spelled}");
    }
}

#[test]
fn a_hello_without_a_name_has_none() {
    assert_eq!(look(&record(&message(&body(None)))), unnamed());
    assert_eq!(look(&flight(&[])), unnamed());
    assert_eq!(look(&flight(&extension(43, &[2, 3, 4]))), unnamed());
}

#[test]
fn the_name_is_found_among_other_extensions() {
    let extensions =
        [extension(0x0a0a, b""), server_name(b"a.example"), extension(0xfe0d, &[0; 200])].concat();
    let Progress::Tls(hello) = look(&flight(&extensions)) else { panic!("not read") };
    assert!(hello.ech);
    assert_eq!(hello.sni.unwrap().as_str(), "a.example");
}

#[test]
fn every_split_gives_the_same_answer() {
    let whole = flight(&[server_name(b"split.example"), extension(21, &[0; 600])].concat());
    for cut in 1..whole.len() {
        let mut flight = FirstFlight::new();
        assert_eq!(flight.feed(&whole[..cut]), Progress::NeedMore, "{cut}");
        assert_eq!(flight.feed(&whole[cut..]), named("split.example"), "{cut}");
    }
    assert_eq!(look_bytewise(&whole), named("split.example"));
}

#[test]
fn every_record_size_gives_the_same_answer() {
    let message = message(&body(Some(&server_name(b"records.example"))));
    for size in 1..message.len() {
        let records: Vec<u8> = message.chunks(size).flat_map(record).collect();
        assert_eq!(look(&records), named("records.example"), "{size}");
    }
}

#[test]
fn what_follows_the_hello_in_later_records_is_not_looked_at() {
    let bytes = [flight(&server_name(b"a.example")), vec![20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 0, 0]].concat();
    assert_eq!(look(&bytes), named("a.example"));
}

#[test]
fn an_answer_once_given_stays() {
    let mut flight_of = FirstFlight::new();
    flight_of.feed(&flight(&server_name(b"a.example")));
    assert_eq!(flight_of.feed(&flight(&server_name(b"b.example"))), named("a.example"));
    assert_eq!(flight_of.finish(), named("a.example"));
}

#[test]
fn other_protocols_are_told_by_as_few_bytes_as_they_have() {
    for opening in [
        &b"S"[..],
        b"SSH-2.0-x",
        b"GET / HTTP/1.1",
        b"\0",
        b"\x16\x02",
        b"\x16S",
        b"\x19\x03",
        b"\x80\x01\x02",
        b"\xff\xfd\x18",
    ] {
        assert_eq!(look(opening), Progress::NotTls, "{opening:?}");
    }
    for undecided in [
        &b""[..],
        b"\x16",
        b"\x14",
        b"\x80",
        b"\x80\x2e",
        b"\x80\x2e\x01",
        b"\x80\x2e\x01\x03",
        b"\x16\x03\x01",
    ] {
        assert_eq!(look(undecided), Progress::NeedMore, "{undecided:?}");
    }
}

#[test]
fn a_deceptive_first_flight_is_malformed() {
    use Malformed::{
        DuplicateExtension, EmptyRecord, OtherMessage, OtherRecord, RecordVersion, ServerName,
        ServerNameList, Ssl2, Structure, TooLong, TrailingBytes,
    };
    let good = message(&body(Some(&server_name(b"a.example"))));
    let two_names = vector(&[name_entry(0, b"a.example"), name_entry(0, b"b.example")].concat());
    let odd_type = vector(&[name_entry(0, b"a.example"), name_entry(7, b"b.example")].concat());
    let mut short_block = body(Some(&server_name(b"a.example")));
    short_block.push(0);
    let table: [(&str, Vec<u8>, Malformed); 27] = [
        ("SSLv2 hello", vec![0x80, 0x2e, 1, 3, 1, 0, 3], Ssl2),
        ("SSLv2 hello of version 2", vec![0x80, 0x2e, 1, 0, 2, 0, 3], Ssl2),
        ("alert first", vec![21, 3, 1, 0, 2, 1, 0], OtherRecord),
        ("cipher change first", vec![20, 3, 1, 0, 1, 1], OtherRecord),
        ("data first", vec![23, 3, 3, 0, 1, 0], OtherRecord),
        ("empty first record", record(&[]), EmptyRecord),
        ("empty record between", [record(&good[..9]), record(&[]), record(&good[9..])].concat(), EmptyRecord),
        (
            "alert between",
            [record(&good[..9]), vec![21, 3, 1, 0, 2, 1, 0], record(&good[9..])].concat(),
            OtherRecord,
        ),
        ("other version between", [record(&good[..9]), vec![22, 2, 1]].concat(), RecordVersion),
        ("record over 2^14", vec![22, 3, 1, 0x40, 1], TooLong),
        ("ServerHello", record(&[2, 0, 0, 1, 0]), OtherMessage),
        ("message of 16 MiB", record(&[1, 0xff, 0xff, 0xff]), TooLong),
        ("second message in the record", record(&[good.clone(), vec![1]].concat()), TrailingBytes),
        ("empty hello", record(&message(&[])), Structure),
        ("bytes behind the extensions", record(&message(&short_block)), Structure),
        ("extension longer than its block", flight(&[0, 43, 0, 9, 1]), Structure),
        ("half an extension header", flight(&[0, 43, 0]), Structure),
        ("name longer than its list", flight(&extension(0, &[0, 4, 0, 0, 9, b'a'])), Structure),
        ("list longer than its extension", flight(&extension(0, &[0, 9, 0, 0, 1, b'a'])), Structure),
        (
            "bytes behind the list",
            flight(&extension(0, &[vector(&name_entry(0, b"a.example")), vec![0]].concat())),
            Structure,
        ),
        (
            "server_name twice",
            flight(&[server_name(b"a.example"), server_name(b"a.example")].concat()),
            DuplicateExtension,
        ),
        (
            "unknown extension twice",
            flight(&[extension(9, b"1"), extension(10, b"2"), extension(9, b"")].concat()),
            DuplicateExtension,
        ),
        ("empty list", flight(&extension(0, &[0, 0])), ServerNameList),
        ("two names", flight(&extension(0, &two_names)), ServerNameList),
        ("a name of unknown type", flight(&extension(0, &odd_type)), ServerNameList),
        ("an address", flight(&server_name(b"192.0.2.1")), ServerName),
        ("a name with a NUL", flight(&server_name(b"evil.example\0.a.example")), ServerName),
    ];
    for (what, bytes, expected) in table {
        assert_eq!(look(&bytes), Progress::Malformed(expected), "{what}");
        assert_eq!(look_bytewise(&bytes), Progress::Malformed(expected), "{what}, byte by byte");
    }
}

#[test]
fn names_that_are_not_names_are_malformed() {
    for name in [
        &b""[..],
        b"a..b",
        b"a.example..",
        b"[::1]",
        b"::1",
        b"a_b c",
        b"a.example:443",
        b"*",
        b"\xc3\xbc.example",
        b"127.1",
    ] {
        assert_eq!(look(&flight(&server_name(name))), Progress::Malformed(Malformed::ServerName), "{name:?}");
    }
}

#[test]
fn a_hello_that_never_ends_is_given_up_at_the_limit() {
    let mut flight_of = FirstFlight::new();
    flight_of.feed(&record(&message(&[0; 16_000])[..100]));
    let mut fed = 0;
    while flight_of.feed(&record(&[0])) == Progress::NeedMore {
        fed += 1;
        assert!(fed < MAX_FLIGHT_BYTES);
    }
    assert_eq!(flight_of.feed(b""), Progress::Malformed(Malformed::TooLong));
}

#[test]
fn a_stream_that_ends_early_is_settled() {
    let settle = |bytes: &[u8]| {
        let mut flight = FirstFlight::new();
        flight.feed(bytes);
        flight.finish()
    };
    assert_eq!(settle(b""), Progress::NotTls);
    assert_eq!(settle(b"\x16"), Progress::Malformed(Malformed::Truncated));
    assert_eq!(settle(&flight(&server_name(b"a.example"))[..60]), Progress::Malformed(Malformed::Truncated));
}

#[test]
fn the_verdict_follows_expectation_destination_and_flight() {
    use Reason::{ClientHelloMalformed, NotTls, SniMismatch, SniMissing};
    use TlsExpectation::{None as Nothing, Optional, Sni};
    use Verdict::{Forward, NeedMore, Refuse};
    let malformed = || Progress::Malformed(Malformed::Structure);
    let table: [(TlsExpectation, &str, Progress, Verdict); 20] = [
        (Sni, "a.example:443", named("a.example"), Forward),
        (Sni, "a.example:443", named("b.example"), Refuse(SniMismatch)),
        (Sni, "a.example:443", named("www.a.example"), Refuse(SniMismatch)),
        (Sni, "a.example:443", unnamed(), Refuse(SniMissing)),
        (Sni, "a.example:443", Progress::NotTls, Refuse(NotTls)),
        (Sni, "a.example:443", malformed(), Refuse(ClientHelloMalformed)),
        (Sni, "a.example:443", Progress::NeedMore, NeedMore),
        (Sni, "192.0.2.1:443", unnamed(), Forward),
        (Sni, "192.0.2.1:443", named("a.example"), Refuse(SniMismatch)),
        (Sni, "[2001:db8::1]:443", Progress::NotTls, Refuse(NotTls)),
        (Optional, "a.example:22", Progress::NotTls, Forward),
        (Optional, "a.example:22", named("a.example"), Forward),
        (Optional, "a.example:22", named("b.example"), Refuse(SniMismatch)),
        (Optional, "a.example:22", unnamed(), Refuse(SniMissing)),
        (Optional, "a.example:22", malformed(), Refuse(ClientHelloMalformed)),
        (Optional, "a.example:22", Progress::NeedMore, NeedMore),
        (Optional, "192.0.2.1:22", named("a.example"), Refuse(SniMismatch)),
        (Nothing, "a.example:22", named("b.example"), Forward),
        (Nothing, "a.example:22", malformed(), Forward),
        (Nothing, "a.example:22", Progress::NeedMore, Forward),
    ];
    for (expectation, destination, progress, expected) in table {
        let destination = Destination::parse_authority(destination.as_bytes()).unwrap();
        assert_eq!(judge(expectation, &destination, &progress), expected, "{destination} {progress:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_bent_flight_reads_the_same_at_every_split(
        edits in proptest::collection::vec((0..120_usize, proptest::prelude::any::<u8>()), 0..4),
        cut in 0..120_usize,
    ) {
        let mut bytes = flight(&[server_name(b"a.example"), extension(43, &[2, 3, 4])].concat());
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let whole = look(&bytes);
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        let mut halves = FirstFlight::new();
        let early = halves.feed(first);
        proptest::prop_assert!(early == Progress::NeedMore || early == whole);
        proptest::prop_assert_eq!(halves.feed(rest), whole.clone());
        proptest::prop_assert_eq!(look_bytewise(&bytes), whole);
    }
}

#[test]
fn the_hello_of_a_real_tls_stack_is_read() {
    let table = [("Real.Example", named("real.example")), ("192.0.2.1", unnamed())];
    for (server, expected) in table {
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
        let name = server.to_owned().try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        assert_eq!(look(&bytes), expected, "{server}");
    }
}
