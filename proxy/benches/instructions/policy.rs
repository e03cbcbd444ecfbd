//! Decisions: one device's manifest of a hundred entries, among few others and among many.

use std::time::Duration;

use certs::CertificateId;
use config::{Destination, DeviceId, ManifestDraft, Source};
use policy_sync::{Asking, LiveManifest, PolicyBounds, Snapshot};

use crate::instructions;

const ENTRIES: usize = 100;
/// When everything happens, in Unix seconds.
pub(crate) const NOW: i64 = 1_900_000_000;

/// Decisions by a name, a wildcard, a network, and by nothing, each time for another device.
pub(crate) fn decisions(manifests: usize) {
    let one = manifest();
    let devices: Vec<DeviceId> = (0..manifests).map(device).collect();
    let live = devices.iter().enumerate().map(|(number, device)| of(&one, device, number));
    let snapshot = Snapshot::build(1, PolicyBounds::default(), live, []);
    let chain = [7, 8].map(certificate);
    for (name, destination) in [
        ("exact", "service-57.example.com:443"),
        ("wildcard", "a.b.team50.example.com:443"),
        ("address", "10.1.51.7:443"),
        ("unlisted", "www.example.org:443"),
    ] {
        let destination: Destination = destination.parse().expect("a destination");
        let mut next = devices.iter().cycle();
        instructions(&format!("decide_{name}_among_{manifests}"), 1000, || {
            snapshot.decide(&Asking {
                device: next.next().expect("the cycle never ends"),
                certificate_agent: None,
                requested_agent: None,
                certificates: &chain,
                destination: &destination,
                now: NOW,
            })
        });
    }
}

/// A manifest of names, wildcards, networks and denials, such as people write, in force at [`NOW`].
pub(crate) fn manifest() -> LiveManifest {
    let entry = |at: usize| match at % 10 {
        0 => format!(r#""*.team{at}.example.com""#),
        1 => format!(r#""10.1.{at}.0/24:*""#),
        2 => format!(r#""git{at}.example.com:22""#),
        _ => format!(r#""service-{at}.example.com""#),
    };
    let allow: Vec<_> = (0..ENTRIES - 2).map(entry).collect();
    let text = format!(
        r#"{{"agent":"agent-1","identity":{{"user":"alice@example.com","device":"device-0"}},"ttl_seconds":86400,
        "capabilities":{{"network":{{"allow":[{}],"deny":["*:25","secrets.example.com"],"upload_bytes":"1000GiB"}}}}}}"#,
        allow.join(",")
    );
    let draft = ManifestDraft::read(&Source::new("manifest.json", text)).expect("a manifest");
    let manifest = draft.identified("cm-0".parse().expect("an identifier"));
    LiveManifest::new(manifest, NOW - 60, [0; 32], Vec::new(), Duration::from_secs(86_400))
}

fn of(one: &LiveManifest, device: &DeviceId, number: usize) -> LiveManifest {
    let mut live = one.clone();
    live.manifest.device = device.clone();
    live.manifest.id = format!("cm-{number}").parse().expect("an identifier");
    live
}

fn device(number: usize) -> DeviceId {
    format!("device-{number:05}").parse().expect("an identifier")
}

fn certificate(number: u8) -> CertificateId {
    CertificateId { fingerprint: [number; 32], issuer: [1, 2].into(), serial: [number].into() }
}
