//! Documents that list names, against the code and the running gateway.

use std::collections::BTreeSet;

use config::settings::{DefaultValue, Program, reference};
use lab::{Behaviour, Capture, Draft, Lab};

use crate::source::{files, root};

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name))
        .unwrap_or_else(|fault| panic!("docs/{name}: {fault}"))
}

/// Every word that stands in backquotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let text = document("defaults.md");
    for setting in Program::ALL.into_iter().flat_map(reference) {
        let named = [format!("{}.{}", setting.section, setting.key), setting.key.to_owned()];
        assert!(named.iter().any(|name| quoted(&text).contains(name.as_str())), "{named:?}");
        if let DefaultValue::Toml(value) = setting.default {
            assert!(text.contains(value), "{}.{} = {value}", setting.section, setting.key);
        }
    }
}

/// Those that only another program or another machine could show; their tests stand beside the code.
const SHOWN_ELSEWHERE: [&str; 1] = ["destinations.metadata_override"];

#[test]
fn every_setting_is_set_by_a_suite_that_shows_its_effect() {
    let mut lab = files(&["tests/src"]);
    lab.retain(|file| file.path.ends_with("src/settings.rs") || file.path.contains("/fleet/"));
    let lab: String = lab.iter().map(|file| file.text.as_str()).collect();
    let suites: String = files(&["tests/suites"]).iter().map(|file| file.text.as_str()).collect();
    let mut missing = Vec::new();
    for setting in Program::ALL.into_iter().flat_map(reference) {
        let path = format!("{}.{}", setting.section, setting.key);
        let set = |text: &str| text.contains(&format!("\"{path}\""));
        // What is a table of its own is set by what is in it.
        let within = suites.contains(&format!("\"{path}.")) || setting.key == "hosts";
        let by_lab = lab.contains(&format!(" {} = ", setting.key)) || set(&lab);
        if !(set(&suites) || within || by_lab || SHOWN_ELSEWHERE.contains(&path.as_str())) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "no suite sets {missing:?}");
}

#[test]
fn every_event_type_and_field_is_documented() {
    let text = document("events.md");
    for event in audit::EventType::ALL {
        assert!(quoted(&text).contains(event.as_str()), "{event}");
    }
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let text = document("reasons.md");
    for reason in config::Reason::ALL {
        assert!(quoted(&text).contains(reason.as_str()), "{reason}");
    }
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_exists() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"x").await;
    lab.device("device-1").refusal("unlisted.test:443").await;
    lab.endings(1).await;
    let metrics = lab.metrics().await;
    let text = document("metrics.md");
    let told: BTreeSet<&str> = metrics.names().into_iter().collect();
    let documented = quoted(&text);
    for name in &told {
        assert!(documented.contains(name), "{name} is not in docs/metrics.md");
    }
    assert!(!told.is_empty());
    let sources: String = files(&["proxy/src", "audit/src", "policy-sync/src", "certs/src"])
        .iter()
        .map(|file| file.text.as_str())
        .collect();
    for name in documented.iter().filter(|name| name.starts_with("portcullis_")) {
        assert!(told.contains(name) || sources.contains(*name), "{name} does not exist");
    }
}

#[test]
fn every_known_attack_names_a_test_that_exists() {
    let text = document("known-attacks.md");
    let sources: String = files(&["config", "certs", "audit", "policy-sync", "proxy", "tests"])
        .iter()
        .map(|file| file.text.as_str())
        .collect();
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let Some(last) = line.trim_end_matches('|').rsplit('|').next() else { continue };
        if last.trim() == "test" {
            continue;
        }
        rows += 1;
        let tests = quoted(last);
        assert!(!tests.is_empty(), "no test is named: {line}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test `{test}`: {line}");
        }
    }
    assert!(rows > 40, "{rows} rows");
}

#[test]
fn documents_mention_no_document_that_is_not_here() {
    for name in
        ["README.md", "ARCHITECTURE.md", "SPECIFICATION.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    {
        let path = root().join(name);
        let Ok(text) = std::fs::read_to_string(&path) else { panic!("{name} is missing") };
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let local = !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:");
            assert!(!local || root().join(file).exists(), "{name} links to {file}");
        }
    }
}
