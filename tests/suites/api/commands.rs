//! `revoke`, `manifest push` and `gateways` through a control plane, and what they say when it goes wrong.

use std::process::{Command, Output};

use lab::gateway::binary;
use lab::policy::signed_manifest;
use lab::{Behaviour, Capture, Draft, Fleet, Role};
use serde_json::Value;

/// Runs a command as whoever has this token.
pub(crate) fn run(fleet: &Fleet, token: &str, arguments: &[&str]) -> Output {
    let ca = fleet.dir().join("control-ca.pem");
    std::fs::write(&ca, fleet.pki.authority.certificate_pem()).expect("written");
    let url = format!("https://{}", fleet.control().addresses.api);
    Command::new(binary())
        .args(arguments)
        .args(["--control", &url, "--ca"])
        .arg(&ca)
        .current_dir(fleet.dir())
        .env("PORTCULLIS_TOKEN", token)
        .output()
        .expect("the program runs")
}

pub(crate) fn as_role(fleet: &Fleet, role: Role, arguments: &[&str]) -> Output {
    run(fleet, fleet.tokens.of(role), arguments)
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {}", text(output)))
}

const REVOKE: [&str; 5] = ["revoke", "--device", "device-1", "--reason", "lost in a taxi"];

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_through_the_control_plane_cuts_and_prints_the_receipt_and_is_lifted() {
    let revoke = ["revoke", "--agent", "cowork-v1.0", "--reason", "suspicious upload"];
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = Fleet::with(1, [Draft::of("device-1").raw(&origin.destination())]).await;
    let device = fleet.device(0, "device-1");
    let mut tunnel = device.tunnel(&origin.destination()).await;
    tunnel.echoes(b"0123456789").await;
    let output =
        as_role(&fleet, Role::Revoker, &[&revoke[..], &["--output", "json", "--require-all"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let receipt = json(&output);
    assert_eq!(
        (&receipt["applied"][0]["gateway"], &receipt["applied"][0]["sessions_cut"]),
        (&"gw-1".into(), &1.into())
    );
    device.refusal(&origin.destination()).await;
    let again = text(&as_role(&fleet, Role::Revoker, &revoke));
    assert!(again.contains("agent:cowork-v1.0") && again.contains("in force already"), "{again}");
    let sequence = receipt["sequence"].to_string();
    let lifted = as_role(&fleet, Role::Approver, &["revoke", "--lift", &sequence, "--output", "json"]);
    assert!(lifted.status.success(), "{}", text(&lifted));
    fleet.enforced(json(&lifted)["sequence"].as_u64().expect("a sequence")).await;
    device.tunnel(&origin.destination()).await.echoes(b"again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_is_pending_and_a_failure_where_all_are_required() {
    let mut fleet = Fleet::with(1, [Draft::of("device-1").raw("origin.test:443")]).await;
    fleet.gateways[0].crash();
    let wait = [&REVOKE[..], &["--wait", "100ms"]].concat();
    let output = as_role(&fleet, Role::Revoker, &wait);
    assert!(output.status.success() && text(&output).contains("pending at gw-1"), "{}", text(&output));
    let output = as_role(&fleet, Role::Revoker, &[&wait[..], &["--require-all"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&as_role(&fleet, Role::Viewer, &["gateways"])).contains("gw-1"));
    assert!(as_role(&fleet, Role::Admin, &["gateways", "--forget", "gw-1"]).status.success());
    assert!(text(&as_role(&fleet, Role::Viewer, &["gateways"])).contains("no gateway"));
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_manifests_are_pushed() {
    let origin = Capture::start(Behaviour::Echo).await;
    let fleet = Fleet::with(1, []).await;
    let draft = Draft::of("device-1").raw(&origin.destination());
    let envelope = signed_manifest(&draft, fleet.keys.issue(&draft.id_text()), &fleet.keys.author);
    std::fs::write(fleet.dir().join("one.dsse.json"), envelope).expect("written");
    let push = ["manifest", "push", "one.dsse.json", "--output", "json"];
    let output = as_role(&fleet, Role::Author, &push);
    assert!(output.status.success(), "{}", text(&output));
    fleet.enforced(json(&output)[0]["sequence"].as_u64().expect("a sequence")).await;
    fleet.device(0, "device-1").tunnel(&origin.destination()).await.echoes(b"x").await;
    std::fs::write(fleet.dir().join("draft.json"), "{}").expect("written");
    assert!(!as_role(&fleet, Role::Author, &["manifest", "push", "draft.json"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_with_a_remedy_and_without_the_token() {
    let fleet = Fleet::builder().start().await;
    let url = format!("https://{}", fleet.control().addresses.api);
    let good = fleet.tokens.of(Role::Viewer);
    let ca = fleet.pki.authority.certificate_pem();
    let other = lab::pki::Pki::found(&fleet.dir().join("gw-other"));
    for (name, pem) in [("right.pem", ca), ("wrong.pem", other.authority.certificate_pem())] {
        std::fs::write(fleet.dir().join(name), pem).expect("written");
    }
    for (token, url, ca, command, said) in [
        (good, url.as_str(), "wrong.pem", "gateways", "not issued by an authority"),
        (good, "https://127.0.0.1:1", "right.pem", "gateways", "cannot reach the control plane"),
        (good, "http://localhost", "right.pem", "gateways", "expected https://"),
        ("pct_viewer_canary", url.as_str(), "right.pem", "gateways", "answered 401"),
        (good, url.as_str(), "right.pem", "revoke", "answered 403"),
    ] {
        let mut arguments = vec![command];
        if command == "revoke" {
            arguments = REVOKE.to_vec();
        }
        let output = Command::new(binary())
            .args(&arguments)
            .args(["--control", url, "--ca", ca])
            .current_dir(fleet.dir())
            .env("PORTCULLIS_TOKEN", token)
            .output()
            .expect("the program runs");
        let text = text(&output);
        assert!(!output.status.success() && text.contains(said), "{said}: {text}");
        assert!(!text.contains("pct_") && !text.contains("canary"), "{text}");
    }
    // Nor does the control plane write tokens anywhere.
    let log = std::fs::read_to_string(fleet.dir().join("control/control.log")).expect("a log");
    assert!(!log.contains("pct_"), "{log}");
}
