//! The command line from outside: arguments in, output and exit codes out. No gateway runs here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says by panicking"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;
const DENIED: i32 = 3;
const BAD_CONFIGURATION: i32 = 64;

/// Runs `portcullis` in `directory` with arguments that are separated by single spaces.
fn portcullis(directory: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(line.split(' '))
        .current_dir(directory)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs each line and checks its exit code and a piece of what it prints, on either side.
fn check(directory: &Path, rows: &[(&str, i32, &str)]) {
    for (line, code, says) in rows {
        let output = portcullis(directory, line);
        let said = out(&output) + &err(&output);
        assert_eq!(output.status.code(), Some(*code), "{line}: {said}");
        assert!(said.contains(says), "{line} does not say {says:?}: {said}");
    }
}

const MANIFEST: &str = "id: cm-1\nagent: a\nidentity: {user: u, device: d}\n\
    capabilities: {network: {allow: [a.example, '*.b.example'], deny: [secret.b.example]}}\nttl_seconds: 3600\n";

#[test]
fn exit_codes_tell_what_went_wrong() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("good.yaml"), MANIFEST).unwrap();
    let tie = MANIFEST.replace("secret.b.example", "a.example:443");
    std::fs::write(directory.path().join("tie.yaml"), tie).unwrap();
    std::fs::write(directory.path().join("bad.yaml"), "agent: a b\nfoo: 1\n").unwrap();
    std::fs::write(directory.path().join("bad.toml"), "[listen]\ndevices = 3\n").unwrap();
    check(
        directory.path(),
        &[
            ("--version", DONE, "portcullis"),
            ("--help", DONE, "Exit codes"),
            ("help", USAGE, "unrecognized subcommand"),
            ("revoke --all", USAGE, "--reason"),
            ("revoke --reason x --key k", USAGE, "--manifest"),
            ("revoke --all --device d --reason x --key k", USAGE, "cannot be used with"),
            ("ca issue --gateway gw", USAGE, "--dns"),
            ("explain --device d a.example", USAGE, "HOST:PORT"),
            ("gateway --config missing.toml", BAD_CONFIGURATION, "missing.toml"),
            ("gateway --config bad.toml", BAD_CONFIGURATION, "bad.toml:2:1: listen.devices"),
            ("check good.yaml", DONE, "good.yaml: a manifest, in order"),
            ("check good.yaml bad.yaml bad.toml", BAD_CONFIGURATION, "bad.yaml:2:1: foo"),
            ("check missing.yaml", BAD_CONFIGURATION, "missing.yaml"),
            ("manifest lint good.yaml", DONE, "warning"),
            ("manifest lint --strict good.yaml", DENIED, "covers everything below b.example"),
            ("manifest lint tie.yaml", DENIED, "a tie is a denial"),
            ("manifest lint bad.yaml", DENIED, "bad.yaml:1:8: agent"),
            ("sessions --admin 127.0.0.1:1", FAILED, "is the gateway running here?"),
            ("sessions --config missing.toml", BAD_CONFIGURATION, "missing.toml"),
        ],
    );
}

#[test]
fn every_problem_of_every_file_is_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), "agent: a b\nfoo: 1\n").unwrap();
    std::fs::write(directory.path().join("b.toml"), "[listen]\ndevices = 3\n").unwrap();
    let output = portcullis(directory.path(), "check --output json a.yaml b.toml");
    assert_eq!(output.status.code(), Some(BAD_CONFIGURATION));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(findings[0]["problems"].as_array().unwrap().len() >= 5, "{findings}");
    assert_eq!(findings[1]["kind"], "gateway_settings");
    assert!(
        findings[1]["problems"].as_array().unwrap().iter().any(|problem| problem["line"] == 2),
        "{findings}"
    );
}

#[test]
fn a_manifest_is_signed_verified_explained_and_revoked_offline() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(place.join("m.yaml"), MANIFEST).unwrap();
    std::fs::create_dir(place.join("policy")).unwrap();
    let offline = "--device d --policy policy --keys keys.toml";
    check(
        place,
        &[
            ("manifest keygen --id alice --role author --keys keys.toml", DONE, "private key"),
            ("manifest keygen --id rita --role revoker --keys keys.toml", DONE, "private key"),
            ("manifest keygen --id rita --role revoker --keys keys.toml", BAD_CONFIGURATION, "used twice"),
            ("manifest keygen --id mallory --role author", DONE, "[[keys]]"),
            ("manifest verify --keys keys.toml m.yaml", DENIED, "not signed"),
            ("manifest sign m.yaml --key mallory.key --out forged.dsse.json", DONE, "cm-1"),
            ("manifest verify --keys keys.toml forged.dsse.json", DENIED, "refused"),
            ("manifest sign m.yaml --key alice.key --policy policy", DONE, "policy/manifests/d~a.json"),
            ("manifest verify --keys keys.toml policy/manifests/d~a.json", DONE, "verified"),
            ("manifest show policy/manifests/d~a.json", DONE, "\"issued_at\""),
            ("manifest diff m.yaml policy/manifests/d~a.json", DONE, "no difference"),
            (&format!("explain {offline} a.example:443"), DONE, "cm-1"),
            (&format!("explain {offline} x.b.example:443"), DONE, "*.b.example:443"),
            (&format!("explain {offline} b.example:443"), DENIED, "destination_not_listed"),
            (&format!("explain {offline} secret.b.example:443"), DENIED, "destination_denied"),
            (&format!("explain {offline} a.example:80"), DENIED, "destination_not_listed"),
            ("explain --device x --policy policy --keys keys.toml a.example:443", DENIED, "no_manifest"),
            ("revoke --manifest cm-1 --reason test --key mallory.key --policy policy", DONE, "revoked"),
            (&format!("explain {offline} a.example:443"), DONE, "does not count"),
            ("revoke --manifest cm-1 --reason test --key rita.key --policy policy", DONE, "manifest_id:cm-1"),
            (&format!("explain {offline} a.example:443"), DENIED, "manifest_revoked"),
            (
                "revoke --all --reason x --key rita.key --policy missing",
                BAD_CONFIGURATION,
                "no such directory",
            ),
        ],
    );
}

#[test]
fn a_second_signature_is_added_to_a_signed_manifest() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("m.yaml"), MANIFEST).unwrap();
    check(
        directory.path(),
        &[
            ("manifest keygen --id alice --role author --keys keys.toml", DONE, ""),
            ("manifest keygen --id sec --role security --keys keys.toml", DONE, ""),
            ("manifest sign m.yaml --key alice.key", DONE, "m.dsse.json"),
            ("manifest sign m.dsse.json --key sec.key", DONE, "m.dsse.json"),
            ("manifest verify --keys keys.toml m.dsse.json --output json", DONE, "\"sec\""),
        ],
    );
}

#[test]
fn many_manifests_are_signed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for number in 1..=3 {
        let manifest = MANIFEST
            .replace("cm-1", &format!("cm-{number}"))
            .replace("device: d", &format!("device: d{number}"));
        std::fs::write(directory.path().join(format!("m{number}.yaml")), manifest).unwrap();
    }
    check(
        directory.path(),
        &[
            ("manifest keygen --id alice --role author --keys keys.toml", DONE, ""),
            ("manifest sign m1.yaml m2.yaml --key alice.key --out m.json", USAGE, "--out names one file"),
            ("manifest sign m1.yaml m2.yaml m3.yaml --key alice.key --policy policy", DONE, "cm-3"),
            (
                "manifest verify --keys keys.toml policy/manifests/d1~a.json policy/manifests/d3~a.json",
                DONE,
                "verified",
            ),
            ("manifest sign m1.yaml m2.yaml --key alice.key", DONE, "m2.dsse.json"),
            ("manifest sign m1.dsse.json missing.yaml --key alice.key", BAD_CONFIGURATION, "missing.yaml"),
        ],
    );
}

#[test]
fn certificates_are_issued_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    check(
        directory.path(),
        &[
            ("ca issue --device d", BAD_CONFIGURATION, "ca init"),
            ("ca init --trust-domain example.org", DONE, "ca/ca.pem"),
            ("ca init --trust-domain example.org", FAILED, "already"),
            ("ca issue --device d --agent a --out out", DONE, "out/d.pem"),
            ("ca issue --gateway gw --dns gw.example.org --ip 127.0.0.1 --out out", DONE, "out/gw.pem"),
            ("ca revoke --device d --out policy/crls/ca.pem", DONE, "policy/crls/ca.pem"),
            ("ca revoke --device d", DONE, "revoked already"),
            ("ca revoke --device unknown", FAILED, "issued no such certificate"),
            ("ca crl --output json", DONE, "ca/crl.pem"),
            (
                "revoke --certificate out/d.pem --reason x --key missing.key --policy policy",
                BAD_CONFIGURATION,
                "keygen",
            ),
        ],
    );
    let mode =
        |name: &str| std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("ca/ca.key"), mode("out/d.key"), mode("out/gw.key")], [0o600; 3]);
}

#[test]
fn output_for_programs_is_json_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("m.yaml"), MANIFEST).unwrap();
    for line in [
        "manifest show m.yaml",
        "manifest schema",
        "manifest lint m.yaml",
        "manifest diff m.yaml m.yaml",
        "check m.yaml",
        "manifest keygen --id alice --role author",
        "manifest sign m.yaml --key alice.key",
        "ca init --trust-domain example.org",
        "ca issue --device d",
        "ca revoke --device d",
    ] {
        let output = portcullis(directory.path(), &format!("{line} --output json"));
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        assert!(parsed.is_ok(), "{line}: {} {}", out(&output), err(&output));
    }
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = portcullis(directory.path(), &format!("completions {shell}"));
        assert!(out(&output).contains("portcullis"), "{shell}");
    }
    let output = portcullis(directory.path(), "man --directory man");
    assert!(output.status.success(), "{}", err(&output));
    for page in
        ["portcullis.1", "portcullis-gateway.1", "portcullis-manifest-sign.1", "portcullis-ca-issue.1"]
    {
        assert!(directory.path().join("man").join(page).exists(), "{page}: {}", out(&output));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let shell = format!("{} man | head -n 1", env!("CARGO_BIN_EXE_portcullis"));
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert_eq!(err(&output), "");
}
