//! Any bytes as an authority: what is accepted has one canonical form, and reads back from it.

#![no_main]

use config::{Destination, Host};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(destination) = Destination::parse_authority(bytes) else { return };
    let printed = destination.to_string();
    assert_eq!(Destination::parse_authority(printed.as_bytes()), Ok(destination.clone()));
    if let Host::Name(name) = destination.host() {
        let name = name.as_str();
        assert!(name.len() <= 253 && name == name.to_ascii_lowercase());
        assert!(name.split('.').all(|label| (1..=63).contains(&label.len())));
        assert!(name.parse::<std::net::IpAddr>().is_err());
    }
});
