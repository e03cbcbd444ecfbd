//! What may a device of the load reach? A manifest of a hundred entries, of which one is the origin.

use serde_json::json;

use crate::origin::SUFFIX;

/// Entries of the allowlist, the origin's among them.
const ENTRIES: usize = 100;

/// More than any run uploads, and yet a limit: budgets are reserved and written down as in earnest.
const PLENTY: &str = "100000GiB";

/// The manifest of a device, unsigned.
pub(super) fn text(device: &str, port: u16) -> String {
    let others = (1..ENTRIES).map(|number| json!(format!("api-{number}.example.com:443")));
    let mut allow: Vec<_> = others.collect();
    allow.push(json!({"host": format!("*.{SUFFIX}:{port}"), "tls": "none"}));
    let manifest = json!({
        "id": id(device),
        "agent": "load-v1",
        "identity": {"user": user(device), "device": device},
        "capabilities": {"network": {
            "allow": allow,
            "deny": ["*"],
            "upload_bytes_per_session": PLENTY,
            "upload_bytes": PLENTY,
        }},
        "ttl_seconds": 86_400,
    });
    manifest.to_string()
}

/// The id of a device's manifest.
pub(super) fn id(device: &str) -> String {
    format!("cm-{device}")
}

/// The user of a device.
pub(super) fn user(device: &str) -> String {
    format!("{device}@example.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_a_hundred_entries() {
        let manifest: serde_json::Value = serde_json::from_str(&text("d1", 8080)).unwrap();
        let allow = manifest["capabilities"]["network"]["allow"].as_array().unwrap();
        assert_eq!(allow.len(), ENTRIES);
        assert_eq!(allow.last().unwrap()["host"], "*.origin.test:8080");
    }
}
