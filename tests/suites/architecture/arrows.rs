//! The arrows between crates, read back from `cargo metadata`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::source::root;

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What each of the project's crates uses of the project, and everything else it names; development aside.
fn dependencies() -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let own = |name: &str| name.starts_with("portcullis-");
    let entry = |package: &Value| {
        let named = package["dependencies"].as_array().expect("dependencies").iter();
        let names: Vec<String> = named
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect();
        let (inside, outside) = names.into_iter().partition(|name| own(name));
        (package["name"].as_str().expect("a name").to_owned(), (inside, outside))
    };
    packages.iter().map(entry).collect()
}

#[test]
fn crates_use_only_what_the_arrows_allow() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("portcullis-config", &[][..]),
        ("portcullis-certs", &["portcullis-config"]),
        ("portcullis-audit", &["portcullis-config"]),
        ("portcullis-policy-sync", &["portcullis-config", "portcullis-certs", "portcullis-audit"]),
        (
            "portcullis-proxy",
            &["portcullis-config", "portcullis-certs", "portcullis-audit", "portcullis-policy-sync"],
        ),
        ("portcullis-loadtest", &["portcullis-config", "portcullis-certs"]),
        (
            "portcullis-tests",
            &["portcullis-config", "portcullis-certs", "portcullis-audit", "portcullis-policy-sync"],
        ),
    ]);
    for (name, (inside, _)) in dependencies() {
        let arrows = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no arrows yet"));
        for used in inside {
            assert!(arrows.contains(&used.as_str()), "{name} uses {used}");
        }
    }
}

#[test]
fn the_language_has_no_runtime_no_tls_and_no_network() {
    let all = dependencies();
    let (_, outside) = &all["portcullis-config"];
    for never in ["tokio", "rustls", "hyper", "h2", "socket2", "hickory-resolver", "tokio-rustls", "axum"] {
        assert!(!outside.iter().any(|name| name == never), "config uses {never}");
    }
    for name in ["portcullis-config", "portcullis-certs", "portcullis-audit", "portcullis-policy-sync"] {
        let (_, outside) = &all[name];
        // A control plane serves its gateways and its API over hyper; no other library has a wire.
        let serves = name == "portcullis-policy-sync";
        let foreign = |used: &&String| *used == "hickory-resolver" || (*used == "hyper" && !serves);
        assert_eq!(outside.iter().find(foreign), None, "{name}");
    }
}
