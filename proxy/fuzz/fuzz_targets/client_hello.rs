//! The first flight: every split of the same bytes gives the same answer, and what was certain stays so.

#![no_main]

use config::Name;
use libfuzzer_sys::fuzz_target;
use proxy::inspect::{FirstFlight, Progress};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = FirstFlight::new().feed(bytes);

    let (first, rest) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut halves = FirstFlight::new();
    let early = halves.feed(first);
    let late = halves.feed(rest);
    assert!(early == Progress::NeedMore || early == late, "an answer once given stays");
    assert_eq!(late, whole);

    let mut bytewise = FirstFlight::new();
    let last = bytes.iter().fold(Progress::NeedMore, |_, byte| bytewise.feed(&[*byte]));
    assert_eq!(last, whole);

    if let Progress::Tls(hello) = whole
        && let Some(name) = hello.sni
    {
        assert_eq!(Name::parse_wire(name.as_str().as_bytes()), Ok(name), "the name is in canonical form");
    }
});
