//! On what was it measured? The machine, in a few words.

use std::collections::BTreeMap;
use std::fs;

/// What a reader needs to know of the machine to judge a figure.
pub(crate) fn describe() -> BTreeMap<&'static str, String> {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    BTreeMap::from([
        ("cores", cores.to_string()),
        ("processor", read("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into())),
        ("memory", read("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".into())),
        ("kernel", system.release().to_string_lossy().into_owned()),
        ("load_average", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()),
    ])
}

fn read(path: &str, key: &str) -> Option<String> {
    value_of(&fs::read_to_string(path).ok()?, key)
}

/// The value of the first `key : value` line.
fn value_of(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n";
        assert_eq!(value_of(text, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(value_of(text, "flags"), None);
    }
}
