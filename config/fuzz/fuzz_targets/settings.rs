//! Any bytes as the settings of a gateway: they are read, or every problem has words.

#![no_main]

use config::{GatewaySettings, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(problems) = GatewaySettings::read(&Source::new("fuzz.toml", bytes)) {
        assert!(!problems.is_empty() && !problems.to_string().is_empty());
    }
});
