//! A drill against a real fleet: every gateway is measured, and nothing is left behind.

use std::net::TcpListener;

use lab::wait::{PATIENCE, eventually};
use lab::{Fleet, Role};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

/// A port that is free at this moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// A drill of this fleet that nobody has started yet.
fn command(fleet: &Fleet, bound: &str) -> Command {
    let key = fleet.dir().join("author-1.key");
    if !key.exists() {
        fleet.keys.author.write(&key).expect("the key is written");
    }
    let port = free_port();
    let mut command = Command::new(lab::gateway::binary());
    command
        .env("PORTCULLIS_TOKEN", fleet.tokens.of(Role::Admin))
        .args(["drill", "--control", &format!("https://{}", fleet.control().addresses.api)])
        .arg("--ca")
        .arg(fleet.dir().join("ca/ca.pem"))
        .arg("--key")
        .arg(&key)
        .arg("--device-ca")
        .arg(fleet.dir().join("ca"))
        .args(["--destination", &format!("origin.test:{port}"), "--listen", &format!("127.0.0.1:{port}")])
        .args(["--sessions", "10", "--bound", bound]);
    command
}

/// Whether the manifest of a drill is live.
async fn left_behind(fleet: &Fleet) -> bool {
    let live = fleet.api(Role::Viewer).get("/api/v1/manifests").await.expect("an answer");
    live.json().to_string().contains("cm-drill-")
}

async fn drill(fleet: &Fleet, bound: &str) -> (Option<i32>, Value, String) {
    let artefact = fleet.dir().join("drill.json");
    let mut command = command(fleet, bound);
    command.arg("--json").arg(&artefact);
    for gateway in 0..fleet.gateways.len() {
        command.args(["--gateway", &fleet.entrance(gateway).to_string()]);
    }
    let output = command.output().await.expect("the drill runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = std::fs::read(&artefact).ok().and_then(|text| serde_json::from_slice(&text).ok());
    (output.status.code(), report.unwrap_or(Value::Null), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_measures_every_gateway_and_leaves_nothing_behind() {
    let fleet = Fleet::with(2, []).await;
    let (code, report, said) = drill(&fleet, "10s").await;
    assert_eq!(code, Some(0), "{said}");
    let gateways = report["gateways"].as_array().expect("gateways");
    assert_eq!(gateways.len(), 2, "{report}");
    for gateway in gateways {
        assert_eq!(
            (&gateway["sessions"], &gateway["late"], &gateway["open"]),
            (&10.into(), &0.into(), &0.into())
        );
        let figure = |which: &str, what: &str| gateway[which][what].as_f64().expect("a figure");
        assert!(figure("closed", "max_ms") >= figure("closed", "p50_ms"));
        assert!(figure("closed", "max_ms") < 10_000.0 && figure("closed", "max_ms") > 0.0, "{report}");
    }
    assert_eq!(report["receipt"]["applied"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(!left_behind(&fleet).await);

    let (code, report, said) = drill(&fleet, "0ms").await;
    assert_eq!((code, &report["passed"]), (Some(1), &Value::Bool(false)), "{said}");
}

#[tokio::test]
async fn an_interrupted_drill_withdraws_its_manifest() {
    let fleet = Fleet::with(1, []).await;
    // Somebody who accepts and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let mut command = command(&fleet, "1s");
    let child = command.args(["--gateway", &address, "--patience", "60s"]).spawn().expect("the drill starts");
    eventually(PATIENCE, "the manifest is live", async || left_behind(&fleet).await.then_some(())).await;
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(pid, Signal::INT).expect("the signal is sent");
    let output = child.wait_with_output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!left_behind(&fleet).await);
}
