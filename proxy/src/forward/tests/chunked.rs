use bytes::{Bytes, BytesMut};

use super::super::{BodyFault, Chunked, Step};

/// Decodes in pieces of this size: the data, whether it ended, and what was left.
fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, bool, Bytes), BodyFault> {
    let (mut decoder, mut buffer, mut data) = (Chunked::default(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            match decoder.step(&mut buffer)? {
                Step::Data(more) => data.extend_from_slice(&more),
                Step::NeedMore => break,
                Step::End => return Ok((data, true, buffer.freeze())),
            }
        }
    }
    Ok((data, false, buffer.freeze()))
}

#[test]
fn a_body_is_decoded_at_every_split() {
    let table: [(&[u8], &[u8]); 6] = [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6;a=b;c=\"d e\"\r\n world\r\n000\r\n\r\n", b"hello world"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0;x\r\n\r\n", b"01234567890123456789"),
        (b"0000000000000003\r\na\r\n\r\n0\r\n\r\n", b"a\r\n"),
        (b"1\r\nx\r\n0\r\nContent-Length: 9\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\r\n", b"x"),
    ];
    for (bytes, expected) in table {
        for piece in 1..=bytes.len() {
            let (data, ended, left) = decode(bytes, piece).unwrap();
            assert_eq!((data.as_slice(), ended, left.len()), (expected, true, 0), "{bytes:?} by {piece}");
        }
    }
}

#[test]
fn what_follows_the_body_is_left() {
    let (data, ended, left) = decode(b"1\r\nx\r\n0\r\n\r\nGET /", 64).unwrap();
    assert_eq!((data.as_slice(), ended, left.as_ref()), (&b"x"[..], true, &b"GET /"[..]));
}

#[test]
fn a_violation_is_final_and_nothing_behind_it_is_data() {
    let long_extension = format!("1;{}\r\nx\r\n", "e".repeat(300));
    let many_extensions = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(90);
    let long_trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(4000));
    let table: [(&str, &str); 24] = [
        ("0x3\r\nabc\r\n", ""),
        ("+3\r\nabc\r\n", ""),
        ("-3\r\nabc\r\n", ""),
        ("0_3\r\nabc\r\n", ""),
        (" 3\r\nabc\r\n", ""),
        ("3 \r\nabc\r\n", ""),
        ("3\t\r\nabc\r\n", ""),
        ("\r\nabc\r\n", ""),
        (";x\r\nabc\r\n", ""),
        ("g\r\nabc\r\n", ""),
        ("10000000000000000\r\nabc\r\n", ""),
        ("fffffffffffffffff\r\nabc\r\n", ""),
        ("3\nabc\r\n", ""),
        ("3;x\n\r\nabc\r\n", ""),
        ("3;x\ry\r\nabc\r\n", ""),
        ("3;\0\r\nabc\r\n", ""),
        ("3\r\nabcd\r\n", "abc"),
        ("3\r\nabc\n0\r\n\r\n", "abc"),
        ("3\r\nabc0\r\n\r\n", "abc"),
        ("3\r\nabc\r\r\n0\r\n\r\n", "abc"),
        ("3\r\nabc\r\n0\r\nno field\r\n\r\n", "abc"),
        ("3\r\nabc\r\n0\r\n folded: x\r\n\r\n", "abc"),
        ("3\r\nabc\r\n0\r\n\n", "abc"),
        (long_extension.as_str(), ""),
    ];
    for (bytes, expected) in table {
        let (mut decoder, mut buffer) = (Chunked::default(), BytesMut::from(bytes));
        let mut data = Vec::new();
        let violated = loop {
            match decoder.step(&mut buffer) {
                Ok(Step::Data(more)) => data.extend_from_slice(&more),
                Ok(step) => panic!("{bytes:?}: {step:?}"),
                Err(violated) => break violated,
            }
        };
        assert!(matches!(violated, BodyFault::Malformed(_)));
        assert_eq!(data, expected.as_bytes(), "{bytes:?}");
        let mut more = BytesMut::from("3\r\nabc\r\n0\r\n\r\n");
        assert!(decoder.step(&mut more).is_err(), "{bytes:?} was forgiven");
    }
    for bytes in [many_extensions, long_trailers] {
        assert!(decode(bytes.as_bytes(), 1024).is_err());
    }
}

#[test]
fn a_size_of_u64_is_read_without_overflow() {
    let (data, ended, _) = decode(b"ffffffffffffffff\r\nabc", 7).unwrap();
    assert_eq!((data.as_slice(), ended), (&b"abc"[..], false));
}

#[test]
fn an_endless_line_is_given_up() {
    assert!(decode(&[b'1'; 300], 1).is_err());
}
