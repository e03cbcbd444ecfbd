//! The command line against a running gateway: what it lists, explains and refuses.

use lab::{Behaviour, Capture, Draft, Lab};
use serde_json::Value;

async fn setup() -> (Capture, Lab) {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).deny("secrets.example.com")).await;
    (origin, lab)
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn sessions_lists_what_is_live() {
    let (origin, lab) = setup().await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    tunnel.echoes(b"0123456789").await;
    let output = lab.command(&["sessions", "--config", "gateway.toml", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let said = json(&output).to_string();
    for word in ["device-1", "cowork-v1.0", &origin.destination(), "10"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let table = lab.command(&["sessions", "--config", "gateway.toml"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("device-1") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn explain_says_the_same_offline_as_of_the_running_gateway() {
    let (origin, lab) = setup().await;
    for (destination, code) in
        [(origin.destination(), 0), ("secrets.example.com:443".into(), 3), ("unlisted.test:443".into(), 3)]
    {
        let ask = |from: &[&str]| {
            let mut arguments = vec!["explain", "--device", "device-1", "--output", "json"];
            arguments.extend(from);
            arguments.push(&destination);
            lab.command(&arguments)
        };
        let running = ask(&["--config", "gateway.toml"]);
        let offline = ask(&["--policy", "policy", "--keys", "keys.toml"]);
        assert_eq!((running.status.code(), offline.status.code()), (Some(code), Some(code)), "{destination}");
        let (running, offline) = (json(&running), json(&offline));
        for key in ["decision", "reason", "rule", "manifest", "agent", "user", "tls"] {
            assert_eq!(running[key], offline[key], "{destination}: {key}");
        }
    }
}

#[tokio::test]
async fn check_finds_every_problem_and_the_gateway_refuses_the_same_file() {
    let (_origin, lab) = setup().await;
    let good = std::fs::read_to_string(lab.dir().join("gateway.toml")).expect("settings");
    assert!(lab.command(&["check", "gateway.toml"]).status.success());
    let bad = good.replace("[limits]", "[limits]\nsesions = 1\nhandshakes = -1");
    std::fs::write(lab.dir().join("bad.toml"), bad).expect("written");
    for command in [&["check", "bad.toml"][..], &["gateway", "--config", "bad.toml"]] {
        let output = lab.command(command);
        assert_eq!(output.status.code(), Some(64), "{command:?}");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for word in ["bad.toml:", "sesions", "handshakes"] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}

#[tokio::test]
async fn commands_say_so_when_there_is_no_gateway() {
    let (_origin, mut lab) = setup().await;
    lab.crash();
    let output = lab.command(&["sessions", "--config", "gateway.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}
