//! What may a device of the load reach? A manifest of a hundred entries, of which one is the origin.

use serde_json::{Value, json};

use crate::origin::SUFFIX;

/// Entries of the allowlist, the origin's among them.
const ENTRIES: usize = 100;

/// More than any run uploads, and yet a limit: budgets are reserved and written down as in earnest.
const PLENTY: &str = "100000GiB";

/// What a device may reach, and how much it may send there.
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    /// The origin under all its names, with a limit that no run reaches.
    Plenty,
    /// The same, with so many bytes for each session and for all of them.
    Upload {
        /// For each session.
        session: u64,
        /// For all sessions.
        all: u64,
    },
    /// What a simulated attacker holds: [`OPEN`], [`TLS`] and [`LIMITED`] of the origin, and a name that leads to a
    /// metadata service.
    Canary {
        /// For all sessions to [`LIMITED`].
        limit: u64,
    },
}

/// Anything goes there.
pub(crate) const OPEN: &str = "o0.origin.test";
/// Only TLS goes there.
pub(crate) const TLS: &str = "o1.origin.test";
/// Only so much goes there.
pub(crate) const LIMITED: &str = "o2.origin.test";
/// Leads to the metadata service of a cloud.
pub(crate) const METADATA: &str = "metadata.origin.test";

/// The manifest of a device, unsigned.
pub(super) fn text(device: &str, port: u16, grant: &Grant) -> String {
    let plenty = || json!(PLENTY);
    let bytes = |limit: &u64| json!(limit.to_string());
    let (session, all) = match grant {
        Grant::Plenty | Grant::Canary { .. } => (plenty(), plenty()),
        Grant::Upload { session, all } => (bytes(session), bytes(all)),
    };
    let last = match grant {
        Grant::Plenty | Grant::Upload { .. } => {
            vec![json!({"host": format!("*.{SUFFIX}:{port}"), "tls": "none"})]
        }
        Grant::Canary { limit } => vec![
            json!({"host": format!("{OPEN}:{port}"), "tls": "none"}),
            json!({"host": format!("{TLS}:{port}"), "tls": "sni"}),
            json!({"host": format!("{LIMITED}:{port}"), "tls": "none", "upload_bytes": bytes(limit)}),
            json!({"host": format!("{METADATA}:80"), "tls": "none"}),
        ],
    };
    let others = (1..ENTRIES).map(|number| json!(format!("api-{number}.example.com:443")));
    let allow: Vec<_> = others.chain(last).collect();
    of(device, &allow, [session, all])
}

/// The manifest of a device that never connects, unsigned: three entries.
pub(super) fn small(device: &str) -> String {
    let allow = ["api.example.com:443", "*.cdn.example.com:443", "192.0.2.0/24:443"];
    of(device, &allow.map(|entry| json!(entry)), [json!(PLENTY), json!(PLENTY)])
}

fn of(device: &str, allow: &[Value], [session, all]: [Value; 2]) -> String {
    let manifest = json!({
        "id": id(device),
        "agent": "load-v1",
        "identity": {"user": user(device), "device": device},
        "capabilities": {"network": {
            "allow": allow,
            "deny": ["*"],
            "upload_bytes_per_session": session,
            "upload_bytes": all,
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
        let manifest: serde_json::Value = serde_json::from_str(&text("d1", 8080, &Grant::Plenty)).unwrap();
        let allow = manifest["capabilities"]["network"]["allow"].as_array().unwrap();
        assert_eq!(allow.len(), ENTRIES);
        assert_eq!(allow.last().unwrap()["host"], "*.origin.test:8080");
    }

    #[test]
    fn limits_are_written_as_granted() {
        let read = |grant| serde_json::from_str::<serde_json::Value>(&text("d1", 80, &grant)).unwrap();
        let manifest = read(Grant::Upload { session: 7, all: 9 });
        let network = &manifest["capabilities"]["network"];
        assert_eq!(
            (network["upload_bytes_per_session"].as_str(), network["upload_bytes"].as_str()),
            (Some("7"), Some("9"))
        );
        let manifest = read(Grant::Canary { limit: 5 });
        let allow = manifest["capabilities"]["network"]["allow"].as_array().unwrap();
        let limited = allow.iter().find(|entry| entry["host"] == "o2.origin.test:80").unwrap();
        assert_eq!(limited["upload_bytes"], "5");
    }
}
