//! What a control plane reads, and reads again: tokens, revoked gateways, limits, the directory that feeds its log.

use std::path::PathBuf;
use std::time::Duration;

use certs::authority::Revocable;
use lab::policy::signed_manifest;
use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Fleet, Role};
use rustix::process::Signal;
use serde_json::{Value, json};

fn file(fleet: &Fleet, name: &str) -> PathBuf {
    fleet.dir().join("control").join(name)
}

/// Sends SIGHUP, waits for the verdict and returns whether the settings were applied.
async fn hang_up(fleet: &Fleet) -> bool {
    let count = |kind: &str| {
        let events = std::fs::read_to_string(file(fleet, "events.jsonl")).unwrap_or_default();
        events.matches(&format!("\"{kind}\"")).count()
    };
    let verdicts = || (count("system.reload_applied"), count("system.reload_refused"));
    let before = verdicts();
    fleet.control().signal(Signal::HUP);
    eventually(PATIENCE, "the control plane judges its settings", async || {
        let now = verdicts();
        (now != before).then_some(now.0 > before.0)
    })
    .await
}

async fn status(fleet: &Fleet, role: Role) -> u16 {
    fleet.api(role).get("/api/v1/gateways").await.expect("an answer").status
}

#[tokio::test]
async fn a_withdrawn_token_is_worth_nothing_after_a_reload_and_a_broken_file_changes_nothing() {
    let fleet = Fleet::with(0, []).await;
    let tokens = std::fs::read_to_string(file(&fleet, "tokens.toml")).expect("the tokens");
    std::fs::write(file(&fleet, "tokens.toml"), "[[tokens]]\nid = 1\n").expect("written");
    assert!(!hang_up(&fleet).await);
    assert_eq!(status(&fleet, Role::Viewer).await, 200);
    let (viewer, others) = tokens.split_at(tokens[1..].find("[[tokens]]").expect("more than one token") + 1);
    assert!(viewer.contains("\"viewer\""));
    std::fs::write(file(&fleet, "tokens.toml"), others).expect("written");
    assert!(hang_up(&fleet).await);
    assert_eq!(status(&fleet, Role::Viewer).await, 401);
    assert_eq!(status(&fleet, Role::Auditor).await, 200);
}

/// What the last reload that was refused was refused for.
fn refusal(fleet: &Fleet) -> String {
    let events = std::fs::read_to_string(file(fleet, "events.jsonl")).expect("events");
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut refused = events.filter(|event| event["event_type"] == "system.reload_refused");
    refused.next_back().map(|event| event["detail"].to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_reload_with_one_bad_part_changes_nothing_and_names_it() {
    let builder = Fleet::builder().gateways(0).control(|settings| {
        settings.set("listen.agents", "127.0.0.1:0");
        settings.set("trust.device_ca", vec!["../ca/ca.pem"]).set("trust.crls", vec!["../device-ca.crl"]);
    });
    let fleet = builder.start().await;
    // Good news in every other part: the viewer's token is gone, and a manifest may live longer.
    let tokens = std::fs::read_to_string(file(&fleet, "tokens.toml")).expect("the tokens");
    let (_, others) = tokens.split_at(tokens[1..].find("[[tokens]]").expect("more than one token") + 1);
    std::fs::write(file(&fleet, "tokens.toml"), others).expect("written");
    std::fs::write(file(&fleet, "empty.pem"), "").expect("written");
    let text = |value: &str| toml::Value::from(value);
    let files = |name: &str| toml::Value::from(vec![name]);
    for (setting, value) in [
        ("trust.gateway_ca", files("missing.pem")),
        ("trust.gateway_ca", files("empty.pem")),
        ("trust.device_ca", files("empty.pem")),
        ("trust.crls", files("missing.crl")),
        ("trust.crls", files("empty.pem")),
        ("tls.certificate", text("empty.pem")),
        ("keys.ring", text("missing.toml")),
        ("api.tokens", text("missing.toml")),
        ("policy.max_ttl", text("for ever")),
        ("signals.ca", text("missing.pem")),
    ] {
        let mut settings = fleet.settings.clone();
        settings.set("policy.max_ttl", "48h");
        match setting.strip_prefix("signals.") {
            Some(_) => {
                let subjects = toml::Value::from(vec![toml::Table::from_iter([
                    ("format".to_owned(), text("email")),
                    ("to".to_owned(), text("user")),
                ])]);
                let events = toml::Table::from_iter([("session-revoked".to_owned(), files("user"))]);
                let keys = [
                    ("signals.name", text("idp")),
                    ("signals.issuer", text("https://idp.example")),
                    ("signals.audience", text("https://control.example")),
                    ("signals.jwks", text("https://idp.example/keys")),
                    ("signals.subjects", subjects),
                    ("signals.events", events.into()),
                    (setting, value),
                ];
                settings.entry("signals", &keys);
            }
            None => {
                settings.set(setting, value);
            }
        }
        settings.write(&file(&fleet, "control.toml"));
        assert!(!hang_up(&fleet).await, "{setting}");
        let said = refusal(&fleet);
        let named = if setting == "signals.ca" { "signals" } else { setting };
        assert!(said.contains(named), "{setting}: {said}");
        assert_eq!(status(&fleet, Role::Viewer).await, 200, "{setting}: nothing of it is in force");
    }
    fleet.settings.write(&file(&fleet, "control.toml"));
    assert!(hang_up(&fleet).await);
    assert_eq!(status(&fleet, Role::Viewer).await, 401);
}

#[tokio::test]
async fn a_gateway_whose_certificate_is_revoked_is_cut_off_by_a_reload() {
    let mut fleet = Fleet::with(2, []).await;
    let certificate = std::fs::read_to_string(fleet.dir().join("gw-1/gateway.pem")).expect("a certificate");
    fleet.pki.authority.revoke(Revocable::Certificate(&certificate)).expect("revoked");
    std::fs::write(file(&fleet, "gateways.crl"), fleet.pki.crl()).expect("written");
    fleet.settings.set("trust.crls", vec!["gateways.crl"]);
    fleet.settings.write(&file(&fleet, "control.toml"));
    assert!(hang_up(&fleet).await);
    fleet.connected(&["gw-2"]).await;
}

#[tokio::test]
async fn what_is_signed_into_the_directory_comes_to_the_gateways() {
    let origin = Capture::start(Behaviour::Echo).await;
    let builder = Fleet::builder().gateways(1).control(|settings| {
        settings.set("policy.directory", "policy");
    });
    let fleet = builder.start().await;
    let draft = Draft::of("device-1").raw(&origin.destination());
    let envelope = signed_manifest(&draft, fleet.keys.next_issue(), &fleet.keys.author);
    let manifests = file(&fleet, "policy/manifests");
    std::fs::create_dir_all(&manifests).expect("a directory");
    lab::policy::replace(&manifests.join("m.dsse.json"), &envelope);
    eventually(PATIENCE, "the gateway enforces the manifest", async || {
        fleet.device(0, "device-1").connect(&origin.destination()).await.ok()?.ok()
    })
    .await
    .echoes(b"by way of the log")
    .await;
}

#[tokio::test]
async fn an_order_waits_as_long_as_the_settings_say() {
    let builder = Fleet::builder().gateways(1).control(|settings| {
        settings.set("api.wait", "50ms");
    });
    let fleet = builder.start().await;
    fleet.gateways[0].gateway().signal(Signal::STOP);
    let order = json!({"device": "device-1", "reason": "for the test"});
    let answer = lab::within(Duration::from_secs(5), "the order is answered", async {
        fleet.api(Role::Revoker).post("/api/v1/revoke", &order).await.expect("an answer").json()
    })
    .await;
    fleet.gateways[0].gateway().signal(Signal::CONT);
    assert_eq!(answer["pending"], json!(["gw-1"]), "{answer}");
    assert_eq!(answer["applied"], json!([]), "{answer}");
}

#[tokio::test]
async fn failed_attempts_and_floods_are_turned_away() {
    let builder = Fleet::builder().gateways(0).control(|settings| {
        settings.set("api.attempts_per_minute", 2).set("api.requests_per_second", 1).set("api.burst", 2);
    });
    let fleet = builder.start().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses
            .push(fleet.api_with("pct_nobody_x").get("/api/v1/gateways").await.expect("an answer").status);
    }
    assert_eq!(statuses, [401, 401, 429]);
    let mut turned_away: Option<Value> = None;
    for _ in 0..5 {
        let answer = fleet.api(Role::Auditor).get("/api/v1/gateways").await.expect("an answer");
        if answer.status == 429 {
            assert!(answer.field("retry-after").is_some());
            turned_away = Some(answer.json());
        }
    }
    assert!(turned_away.is_some(), "a flood is turned away");
}
