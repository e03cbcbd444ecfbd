//! How is the gateway set? As shipped, but for the limits that a load would run into by design.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::manifest::METADATA;

/// The settings file; `hosts` are the names of the origin, `source` is where policy comes from.
pub(super) fn text(hosts: &[(String, Ipv4Addr)], source: &str) -> String {
    let mut text = r#"[gateway]
name = "loadtest"
state_dir = "state"

[listen]
device = ["127.0.0.1:0"]
admin = "127.0.0.1:0"

[tls]
certificate = "gateway.pem"
key = "gateway.key"

[trust]
device_ca = ["ca/ca.pem"]
crls = ["device-ca.crl"]
trust_domain = "loadtest.test"

[policy]
source = "SOURCE"
keys = "keys.toml"

[destinations]
internal = ["127.0.0.0/8"]

[limits]
connections = 100000
sessions = 100000
sessions_per_device = 100000
connects_per_second = 0

[deadlines]
idle = "1h"
drain = "1s"

[audit]
file = "events.jsonl"

[dns.hosts]
"#
    .replace("SOURCE", source);
    if source.starts_with("control:") {
        text = format!("[control]\nca = \"ca/ca.pem\"\n\n{text}");
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\"{METADATA}\" = [\"169.254.169.254\"]");
    for (name, address) in hosts {
        let _ = writeln!(text, "\"{name}\" = [\"{address}\"]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_name_every_origin() {
        let text = text(&[("o0.origin.test".into(), Ipv4Addr::new(127, 0, 1, 1))], "dir:policy");
        assert!(text.contains("\nsource = \"dir:policy\"\n"));
        assert!(text.ends_with("\n\"o0.origin.test\" = [\"127.0.1.1\"]\n"));
    }
}
