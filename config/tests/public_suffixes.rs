//! Every rule of the public suffix list, against the reader of manifests.
//!
//! The list is the one that the `psl` crate was made from, found beside its source.

use std::path::PathBuf;
use std::process::Command;

use config::{DefaultPorts, Pattern, UnfitPattern};

fn rules() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without this, packages for other systems would be asked for, which nobody has fetched.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", &platform])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo describes the workspace");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("its description is JSON");
    let packages =
        metadata.get("packages").and_then(|packages| packages.as_array()).expect("there are packages");
    let psl = packages.iter().find(|package| package.get("name").is_some_and(|name| name == "psl"));
    let manifest = psl.and_then(|psl| psl.get("manifest_path")?.as_str()).expect("psl is a dependency");
    let list = PathBuf::from(manifest).with_file_name("data/rules.txt");
    std::fs::read_to_string(list).expect("the list is there").lines().map(str::to_owned).collect()
}

fn verdict(wildcard_over: &str) -> Result<(), UnfitPattern> {
    let pattern = Pattern::parse(&format!("*.{wildcard_over}"), DefaultPorts::Https).expect(wildcard_over);
    assert_eq!(pattern.fit_to_allow(), pattern.fit_to_deny());
    pattern.fit_to_allow()
}

#[test]
fn a_wildcard_over_any_public_suffix_is_refused_and_one_label_below_it_is_not() {
    let rules = rules();
    assert!(rules.len() > 9_000, "{} rules", rules.len());
    let excepted: Vec<_> = rules.iter().filter_map(|rule| rule.strip_prefix('!')).collect();
    for rule in &rules {
        let (suffix, below) = match (rule.strip_prefix('!'), rule.strip_prefix("*.")) {
            // An exception is a name like any other.
            (Some(name), _) => {
                assert!(verdict(name).is_ok(), "{rule}");
                continue;
            }
            (_, Some(parent)) => (parent.to_owned(), format!("portcullis-tests.{parent}")),
            _ => (rule.clone(), format!("portcullis-tests.{rule}")),
        };
        assert!(verdict(&suffix).is_err(), "{rule}");
        let below_is_suffix = rule.starts_with("*.") || rules.contains(&format!("*.{suffix}"));
        assert_eq!(
            verdict(&below).is_err(),
            below_is_suffix && !excepted.contains(&below.as_str()),
            "{rule}"
        );
    }
}
