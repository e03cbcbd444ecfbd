//! Everything that the API's own description allows, and much that it forbids, tried by schemathesis against the program.

use std::process::Stdio;
use std::time::Duration;

use lab::{Fleet, Role};

/// What is signed is drawn at random here, so no signature ever holds: 422 is the right answer to it. A control plane that
/// is asked for much at once may be busy.
const CONFIGURATION: &str = r#"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410", "422", "503"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_behaves_as_its_description_says() {
    let found = tokio::process::Command::new("schemathesis").arg("--version").output().await;
    if !found.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("version 4")) {
        println!("SKIPPED: schemathesis 4 is not installed (pip install schemathesis)");
        return;
    }
    let fleet = Fleet::builder().control(|settings| {
        for limit in ["requests_per_second", "burst", "attempts_per_minute"] {
            settings.set(&format!("api.{limit}"), 1_000_000);
        }
    });
    let fleet = fleet.start().await;
    let file = |name: &str, text: &str| {
        let path = fleet.dir().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let ca = file("control-ca.pem", fleet.pki.authority.certificate_pem());
    let configuration = file("schemathesis.toml", CONFIGURATION);
    let url = format!("https://{}/api/v1/openapi.json", fleet.control().addresses.api);
    let token = format!("Authorization: Bearer {}", fleet.tokens.of(Role::Admin));
    let run = tokio::process::Command::new("schemathesis")
        .arg("--config-file")
        .arg(configuration)
        .args([
            "run",
            &url,
            "--header",
            &token,
            "--max-examples",
            "20",
            "--no-color",
            "--continue-on-failure",
        ])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--workers", "1", "--tls-verify"])
        .arg(ca)
        .current_dir(fleet.dir())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = lab::within(Duration::from_secs(280), "schemathesis ends", run).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // Whatever was sent, nothing of it was written down with the token.
    let log = std::fs::read_to_string(fleet.dir().join("control/control.log")).expect("a log");
    assert!(!log.contains(fleet.tokens.of(Role::Admin)), "the token is in the log");
    assert!(!said.contains("pct_"), "schemathesis prints no token");
}
