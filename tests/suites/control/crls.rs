//! Revocation lists that are put to a control plane: whose are taken, and whom they cut off there.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::authority::{Authority, Revocable};
use lab::fleet::Api;
use lab::gateway::binary;
use lab::pki::{Credentials, DAY};
use lab::wait::{PATIENCE, eventually};
use lab::{Device, Fleet, Role, Wire};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

/// The list with a signature that is not its issuer's.
fn bent(pem: &str) -> String {
    let mut der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).expect("a list").to_vec();
    *der.last_mut().expect("a list is not empty") ^= 1;
    format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(der))
}

/// Puts a list, and has the status and what is said.
async fn put(api: &Api, pem: &str) -> (u16, String) {
    let answer = api.crl(pem).await.expect("an answer");
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test]
async fn a_control_plane_that_knows_the_authorities_takes_their_lists_alone() {
    let stranger = tempfile::tempdir().expect("a directory");
    let stranger = Authority::init(stranger.path(), "other.example", DAY).expect("an authority");
    for (named, of_stranger) in [(true, 422), (false, 200)] {
        let builder = Fleet::builder().gateways(0).control(|settings| {
            settings.set("policy.directory", "policy");
            if named {
                settings.set("trust.device_ca", vec!["../ca/ca.pem"]);
            }
        });
        let fleet = builder.start().await;
        let api = fleet.api(Role::Admin);
        let (older, newer) = (fleet.pki.crl(), fleet.pki.crl());
        let (status, said) = put(&api, &bent(&newer)).await;
        assert!(status == 422 && said.contains("not signed by"), "{status} {said}");
        assert_eq!(put(&api, &newer).await.0, 200);
        let (status, said) = put(&api, &older).await;
        assert!(status == 409 && said.contains("number"), "{status} {said}");
        let (status, said) = put(&api, &stranger.crl(DAY).expect("a list")).await;
        assert_eq!(status, of_stranger, "{said}");
        assert!(!named || said.contains("none of the known authorities"), "{said}");
        // The directory that feeds the log is held to the same.
        let folder = fleet.dir().join("control/policy/crls");
        std::fs::create_dir_all(&folder).expect("a directory");
        let last = fleet.pki.crl();
        lab::policy::replace(&folder.join("bent.crl"), bent(&last).as_bytes());
        eventually(PATIENCE, "the list is refused", async || {
            let metrics = fleet.control().metrics().await;
            let refused = metrics.sum("portcullis_control_directory_refused_files", &[r#"kind="crl""#]);
            (refused > 0.0).then_some(())
        })
        .await;
        let entries = async || {
            let listed = fleet.api(Role::Viewer).get("/api/v1/crls").await.expect("an answer").json();
            listed["crls"].as_array().expect("a list").iter().map(|crl| crl["by"].clone()).collect::<Vec<_>>()
        };
        assert!(!entries().await.contains(&json!("directory")));
        lab::policy::replace(&folder.join("bent.crl"), last.as_bytes());
        eventually(PATIENCE, "the list is taken", async || {
            entries().await.contains(&json!("directory")).then_some(())
        })
        .await;
    }
}

/// Asks as a device's agent, and waits for the head of the answer.
async fn agent(fleet: &Fleet, credentials: &Arc<Credentials>, path: &str) -> (u16, Wire) {
    let device = Device {
        credentials: Some(Arc::clone(credentials)),
        gateway: fleet.control().addresses.agents.expect("a listener for agents"),
        roots: fleet.pki.roots(),
        versions: &lab::device::TLS13,
        preamble: Vec::new(),
        resumption: rustls::client::Resumption::disabled(),
    };
    let mut wire = device.wire().await;
    let head = format!("GET /api/v1/agents/self/{path} HTTP/1.1\r\nHost: control.example\r\n\r\n");
    wire.send(head).await.expect("sent");
    let head = String::from_utf8_lossy(&wire.until(b"\r\n\r\n").await.expect("a head")).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, wire)
}

#[tokio::test]
async fn a_certificate_on_a_list_of_the_log_ends_its_feed_and_is_refused_from_then_on() {
    let builder = Fleet::builder().gateways(0).control(|settings| {
        settings.set("listen.agents", "127.0.0.1:0");
        settings.set("trust.device_ca", vec!["../ca/ca.pem"]).set("trust.crls", vec!["../device-ca.crl"]);
    });
    let mut fleet = builder.start().await;
    let [cut, kept] = ["device-1", "device-2"].map(|name| Arc::new(fleet.pki.device(name)));
    let (status, mut feed) = agent(&fleet, &cut, "events").await;
    assert_eq!(status, 200);
    feed.until(b"event: standing").await.expect("how things stand");
    let (_, mut other) = agent(&fleet, &kept, "events").await;
    other.until(b"event: standing").await.expect("how things stand");
    fleet.pki.revoke(&cut);
    fleet.crl().await;
    // The last chunk of its body.
    let told = feed.until(b"\r\n0\r\n\r\n").await.expect("the feed ends");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("certificate_revoked"), "{told}");
    for path in ["events", "manifest"] {
        assert_eq!(agent(&fleet, &cut, path).await.0, 403, "{path}");
        assert_eq!(agent(&fleet, &kept, path).await.0, 200, "{path}");
    }
    // The control plane knows it from the log, whatever its own files say, also after a restart.
    fleet.crash_control();
    fleet.start_control().await;
    assert_eq!(agent(&fleet, &cut, "events").await.0, 403);
    assert_eq!(agent(&fleet, &kept, "events").await.0, 200);
}

#[tokio::test]
async fn a_gateway_whose_certificate_the_log_revokes_is_cut_off() {
    let fleet = Fleet::with(3, []).await;
    let output = std::process::Command::new(binary())
        .args(["ca", "revoke", "--ca", "ca", "--gateway", "gw-1", "--out", "ca.crl"])
        .current_dir(fleet.dir())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = std::fs::read_to_string(fleet.dir().join("ca.crl")).expect("a list");
    assert_eq!(put(&fleet.api(Role::Admin), &list).await.0, 200);
    fleet.connected(&["gw-2", "gw-3"]).await;
    // A revocation of the certificate itself does the same.
    let pem = std::fs::read_to_string(fleet.dir().join("gw-2/gateway.pem")).expect("a certificate");
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let named = certs::CertificateId::of(&der).expect("a certificate");
    let target = json!({"certificate": named.fingerprint_hex()});
    fleet.api(Role::Revoker).revoke(&target, "for the test", Duration::ZERO).await;
    fleet.connected(&["gw-3"]).await;
    assert!(fleet.pki.authority.revoke(Revocable::Gateway(&"gw-9".parse().expect("a name"))).is_err());
}
