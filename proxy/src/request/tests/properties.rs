//! What holds for every head, however it was bent: seeds with a few bytes changed.

use config::Destination;
use proptest::prelude::*;

use super::super::{Request, RequestHead};
use super::{parse, rules};

const SEEDS: [&str; 5] = [
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    "CONNECT [2001:db8::1]:443 HTTP/1.0\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
    "GET http://a.example:80/x?y HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 x\r\nAccept: */*\r\n\r\n",
    "POST http://192.0.2.1/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    "PUT http://a.example HTTP/1.1\r\nHost: a.example\r\nContent-Length: 12\r\nConnection: close\r\n\r\n",
];

/// Bytes that parsers disagree about, and any other.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => prop::sample::select(b"\r\n\t \0:;,@/%[].\\#?*+-0x_\x0b\x7f\x80".to_vec()),
        1 => any::<u8>(),
    ]
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Delete(prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        any::<prop::sample::Index>().prop_map(Edit::Delete),
    ]
}

fn bent_head() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(SEEDS.to_vec()), prop::collection::vec(edit(), 0..4)).prop_map(|(seed, edits)| {
        let mut bytes = seed.as_bytes().to_vec();
        for edit in edits {
            match edit {
                Edit::Replace(at, byte) => *at.get_mut(&mut bytes) = byte,
                Edit::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
                Edit::Delete(at) => drop(bytes.remove(at.index(bytes.len()))),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_head_that_is_read_is_exactly_one_head(bytes in bent_head()) {
        let Ok(Some((head, consumed))) = parse(&bytes) else { return Ok(()) };
        let read = &bytes[..consumed];
        prop_assert!(read.ends_with(b"\r\n\r\n"));
        prop_assert_eq!(read.windows(4).filter(|four| four == b"\r\n\r\n").count(), 1);
        prop_assert_eq!(read.iter().filter(|byte| **byte == b'\n').count(), read.iter().filter(|byte| **byte == b'\r').count());
        prop_assert_eq!(parse(&bytes[..consumed - 1]), Ok(None));
        let followed = [read, b"\r\n\0GET / HTTP/1.1\n\n"].concat();
        prop_assert_eq!(parse(&followed), Ok(Some((head, consumed))));
    }

    #[test]
    fn a_destination_that_is_read_is_in_canonical_form(bytes in bent_head()) {
        let Ok(Some((RequestHead { request, .. }, _))) = parse(&bytes) else { return Ok(()) };
        let destination = match request {
            Request::Connect(destination) => destination,
            Request::Forward(forward) => forward.destination,
        };
        let again = Destination::parse_authority(destination.to_string().as_bytes());
        prop_assert_eq!(again, Ok(destination));
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_read_more_than_there_is(bytes in prop::collection::vec(byte(), 0..400)) {
        if let Ok(Some((_, consumed))) = RequestHead::parse(&bytes, &rules()) {
            prop_assert!(consumed <= bytes.len());
        }
    }
}
