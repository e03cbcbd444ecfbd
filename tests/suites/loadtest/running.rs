//! Attacks against a gateway that runs already: what an operator repeats in production.

use std::fs;
use std::net::TcpListener;

use lab::{Draft, Lab};

use crate::tool::{Run, attack};

/// A port that was free a moment ago: the tool listens there itself.
fn port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Attacks a lab's gateway as the device `canary`, whose manifest allows an origin, and more if `more` says so.
async fn attacked(more: impl FnOnce(Draft, u16) -> Draft) -> (Lab, Run) {
    let port = port();
    let names = ["canary.example.com", "canary-tls.example.com"];
    let [open, tls] = names.map(|name| format!("{name}:{port}"));
    let draft = Draft::of("canary").raw(&open).allow(serde_json::json!({"host": tls, "tls": "sni"}));
    let lab = Lab::builder()
        .settings(|settings| {
            for name in names {
                settings.host(name, &["127.0.0.1"]);
            }
        })
        .manifest(more(draft, port))
        .start()
        .await;
    let file = |name: &str| lab.dir().join(name).to_string_lossy().into_owned();
    let credentials = lab.pki.device("canary");
    let (chain, key) = &credentials.pem;
    for (name, pem) in [
        ("canary.pem", chain.as_str()),
        ("canary.key", key.as_str()),
        ("authority.pem", lab.pki.authority.certificate_pem()),
    ] {
        fs::write(file(name), pem).expect("a file");
    }
    let gateway = lab.device("canary").gateway.to_string();
    let origin = format!("127.0.0.1:{port}");
    let run = attack(&[
        ("--proxy", &gateway),
        ("--proxy-ca", &file("authority.pem")),
        ("--certificate", &file("canary.pem")),
        ("--key", &file("canary.key")),
        ("--origin", &origin),
        ("--destination", &open),
        ("--tls-destination", &tls),
        ("--events", &file("events.jsonl")),
    ]);
    (lab, run)
}

#[tokio::test]
async fn a_gateway_that_runs_stands_and_has_every_attack_in_its_event_file() {
    let (_lab, run) = attacked(|draft, _| draft).await;
    let run = run.succeeds();
    let findings = run.report["findings"].as_array().expect("findings");
    assert!(findings.len() >= 38, "{} attacks", findings.len());
    assert!(findings.iter().all(|finding| finding["evented"] == true));
    let said = run.report["method"].to_string();
    assert!(said.contains("left out: a revoked certificate"), "{said}");
}

#[tokio::test]
async fn an_attack_that_comes_through_fails_the_run_and_is_named() {
    let (_lab, run) = attacked(|draft, port| draft.raw(&format!("127.0.0.1:{port}"))).await;
    assert!(!run.succeeded);
    let faults = run.report["faults"].as_array().expect("faults");
    let named = |fault: &&serde_json::Value| {
        fault.as_str().is_some_and(|fault| fault.starts_with("came through: the origin by address, dotted"))
    };
    assert!(faults.iter().any(|fault| named(&fault)), "{faults:?}");
}
