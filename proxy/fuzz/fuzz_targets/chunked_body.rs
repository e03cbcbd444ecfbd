//! The chunked decoder: every split gives the same data, and a violation is final.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use proxy::forward::{Chunked, Step};

#[derive(Debug, PartialEq)]
enum Outcome {
    Unfinished,
    /// With how many bytes left over.
    Ended(usize),
    Violated,
}

fuzz_target!(|bytes: &[u8]| {
    let (data, outcome) = decode(std::iter::once(bytes));
    assert!(data.len() <= bytes.len());
    let (same_data, same_outcome) = decode(bytes.chunks(1));
    match outcome {
        // Read byte by byte, what follows the end is never fed in.
        Outcome::Ended(_) => assert_eq!(same_outcome, Outcome::Ended(0)),
        outcome => assert_eq!(same_outcome, outcome),
    }
    assert_eq!(same_data, data);
});

fn decode<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Outcome) {
    let (mut decoder, mut buffer, mut data) = (Chunked::default(), BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match decoder.step(&mut buffer) {
                Ok(Step::Data(more)) => data.extend_from_slice(&more),
                Ok(Step::NeedMore) => break,
                Ok(Step::End) => return (data, Outcome::Ended(buffer.len())),
                Err(_) => {
                    let mut more = BytesMut::from(&Bytes::from_static(b"0\r\n\r\n")[..]);
                    assert!(decoder.step(&mut more).is_err(), "a violation is final");
                    return (data, Outcome::Violated);
                }
            }
        }
    }
    (data, Outcome::Unfinished)
}
