use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Result<String, MalformedHost> {
    Host::parse_wire(bytes).map(|host| host.to_string())
}

#[test]
fn names_are_accepted_in_every_spelling_and_kept_in_one() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    assert_eq!(longest.len(), 253);
    for (wire, canonical) in [
        ("1password.com", "1password.com"),
        ("3.basecamp.com", "3.basecamp.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.Example", "xn--bcher-kva.example"),
        ("a-b--c.example", "a-b--c.example"),
        ("r3---sn-4g5e6nls.example.com", "r3---sn-4g5e6nls.example.com"),
        ("EXAMPLE.COM", "example.com"),
        ("example.com.", "example.com"),
        ("A.B.", "a.b"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        (&longest, &longest),
        (&format!("{longest}."), &longest),
    ] {
        assert_eq!(read(wire.as_bytes()).as_deref(), Ok(canonical), "{wire}");
    }
}

#[test]
fn an_address_has_one_plain_spelling() {
    for (wire, canonical) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("[2001:DB8:0:0::1]", "2001:db8::1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::ffff:7f00:1]", "127.0.0.1"),
        ("[64:ff9b::7f00:1]", "64:ff9b::7f00:1"),
    ] {
        assert_eq!(read(wire.as_bytes()).as_deref(), Ok(canonical), "{wire}");
    }
}

#[test]
fn numbers_that_some_resolver_takes_for_an_address_are_refused() {
    for wire in [
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x",
        "a.0x",
        "a.0X1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.04",
        "127.0.0.1.",
        "example.123",
    ] {
        assert_eq!(read(wire.as_bytes()), Err(MalformedHost::Number), "{wire}");
    }
}

#[test]
fn brackets_hold_one_v6_address_and_nothing_else() {
    for wire in [
        "[a]",
        "[example.net.]",
        "[127.0.0.1]",
        "[]",
        "[",
        "[::1",
        "[[::1]]",
        "[::1%lo]",
        "[fe80::1%25eth0]",
        "[::1%25.example.com]",
        "[::1]a",
    ] {
        assert_eq!(read(wire.as_bytes()), Err(MalformedHost::Bracket), "{wire}");
    }
}

#[test]
fn a_byte_outside_the_alphabet_is_refused_wherever_it_stands() {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    for byte in (0..=u8::MAX).filter(|byte| !allowed(*byte)) {
        for wire in [[b'a', byte, b'b'], [byte, b'a', b'b'], [b'a', b'b', byte]] {
            assert!(read(&wire).is_err(), "{wire:?}");
        }
        let hidden = [b"evil.example".as_slice(), &[byte], b".allowed.example"].concat();
        assert!(read(&hidden).is_err(), "{byte:#x}");
    }
}

#[test]
fn broken_labels_are_refused() {
    let long_label = "a".repeat(64);
    let long_name = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
    for (wire, why) in [
        ("", MalformedHost::Empty),
        (".", MalformedHost::Empty),
        ("..", MalformedHost::EmptyLabel),
        ("a.com..", MalformedHost::EmptyLabel),
        ("a..b", MalformedHost::EmptyLabel),
        (".a", MalformedHost::EmptyLabel),
        ("-a.example", MalformedHost::Hyphen),
        ("a-.example", MalformedHost::Hyphen),
        ("a.-", MalformedHost::Hyphen),
        (&long_label, MalformedHost::LabelTooLong),
        (&long_name, MalformedHost::TooLong),
        (&"a.".repeat(200), MalformedHost::TooLong),
    ] {
        assert_eq!(read(wire.as_bytes()), Err(why), "{wire}");
    }
}

#[test]
fn an_a_label_that_does_not_round_trip_is_refused() {
    for wire in [
        "xn--",
        "xn--a",
        "xn--a.example",
        "xn--example-.com",
        "xn--ls8h=",
        "a.xn--zzzzzzzzzzzz.b",
        "xn--abc-",
    ] {
        assert!(read(wire.as_bytes()).is_err(), "{wire}");
    }
}

#[test]
fn letters_outside_ascii_are_refused_on_the_wire_and_mapped_in_files() {
    for text in ["①②⑦.0.0.1", "０x7f.1", "a。b.com", "ａ.com", "a\u{ad}b.com", "bücher.example"] {
        assert!(Host::parse_wire(text.as_bytes()).is_err(), "{text}");
    }
    for (text, expected) in [
        ("bücher.example", Ok("xn--bcher-kva.example")),
        ("BÜCHER.example.", Ok("xn--bcher-kva.example")),
        ("faß.example", Ok("xn--fa-hia.example")),
        ("plain.example", Ok("plain.example")),
        ("①②⑦.0.0.1", Err(MalformedHost::NotAName)),
        ("０x7f.1", Err(MalformedHost::Number)),
        ("_ü.example", Err(MalformedHost::Unicode)),
    ] {
        let read = Name::parse_text(text);
        assert_eq!(read.as_ref().map(Name::as_str).map_err(|why| *why), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn the_canonical_form_is_a_fixed_point(wire in "[a-zA-Z0-9._\\-]{1,80}|[xX][nN]--[a-z0-9-]{1,20}(\\.[a-z]{2,5})?") {
        if let Ok(host) = Host::parse_wire(wire.as_bytes()) {
            prop_assert_eq!(Host::parse_wire(host.to_string().as_bytes()), Ok(host));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_stumble(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Host::parse_wire(&wire);
        let _ = crate::Destination::parse_authority(&wire);
    }

    #[test]
    fn a_name_from_a_file_reads_back_from_the_wire(text in "\\PC{1,30}") {
        if let Ok(name) = Name::parse_text(&text) {
            prop_assert_eq!(Name::parse_wire(name.as_str().as_bytes()), Ok(name));
        }
    }

    #[test]
    fn what_is_accepted_means_the_same_to_idna(wire in "[a-zA-Z0-9.\\-]{1,40}") {
        if let Ok(Host::Name(name)) = Host::parse_wire(wire.as_bytes()) {
            let theirs = idna::domain_to_ascii(&wire).expect("we accept no more than idna does");
            prop_assert_eq!(theirs.trim_end_matches('.'), name.as_str());
        }
    }
}
