//! The request head parser: what it takes is exactly one head, and nothing behind the head changes it.

#![no_main]

use config::Destination;
use libfuzzer_sys::fuzz_target;
use proxy::request::{Pseudonym, Request, RequestHead, Rules};

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules::new(Pseudonym::of_gateway("fuzz"));
    let Ok(Some((head, consumed))) = RequestHead::parse(bytes, &rules) else {
        return;
    };
    assert!(bytes[..consumed].ends_with(b"\r\n\r\n"), "the head ends in an empty line");
    assert_eq!(RequestHead::parse(&bytes[..consumed - 1], &rules), Ok(None), "no shorter head");
    let followed = [&bytes[..consumed], b"\r\n\0GET"].concat();
    assert_eq!(
        RequestHead::parse(&followed, &rules),
        Ok(Some((head.clone(), consumed))),
        "nothing behind it counts"
    );

    let destination = match head.request {
        Request::Connect(destination) => destination,
        Request::Forward(forward) => {
            assert!(matches!(forward.path.as_str().as_bytes(), [b'/', ..] | b"*"));
            forward.destination
        }
    };
    let again = Destination::parse_authority(destination.to_string().as_bytes());
    assert_eq!(again, Ok(destination), "the canonical form is a fixed point");
});
