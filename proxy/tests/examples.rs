//! The examples under `deploy/` and the table of defaults: complete, and true.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says by panicking"
)]

use std::path::{Path, PathBuf};

use config::settings::{DefaultValue, SettingDoc, reference};
use config::{GatewaySettings, ManifestDraft, Source};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above the crate").to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

#[test]
fn the_example_settings_are_read() {
    let source = Source::open(&root().join("deploy/examples/gateway.toml")).unwrap();
    GatewaySettings::read(&source).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn the_example_settings_hold_every_key_with_its_default() {
    let example = text("deploy/examples/gateway.toml");
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in example.lines() {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => lines.push(format!("{section}.{}", line.trim_start_matches("# "))),
        }
    }
    for SettingDoc { section, key, default, doc } in reference() {
        let shown = match default {
            DefaultValue::Toml(value) => format!("{section}.{key} = {value}"),
            DefaultValue::Required | DefaultValue::Absent(_) => format!("{section}.{key} = "),
        };
        assert!(lines.iter().any(|line| line.starts_with(&shown)), "not in the example: {shown}");
        let explained = format!("{section}.{doc}");
        assert!(
            lines.iter().any(|line| line.starts_with(&explained)),
            "not explained: {section}.{key}: {doc}"
        );
    }
}

#[test]
fn every_setting_is_in_the_table_of_defaults_with_its_default() {
    let page = text("docs/defaults.md");
    let mut section = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("## [").and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None if line.starts_with("| `") => rows.push((section, line)),
            None => {}
        }
    }
    for SettingDoc { section, key, default, doc } in reference() {
        let default = match default {
            DefaultValue::Toml(value) => format!("`{value}`"),
            DefaultValue::Required => "required".into(),
            DefaultValue::Absent(instead) => (*instead).to_owned(),
        };
        let is_it = |(named, row): &&(&str, &str)| named == section && row.starts_with(&format!("| `{key}`"));
        let (_, row) = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row for {section}.{key}"));
        assert!(row.contains(&default), "{section}.{key}: {row} lacks {default}");
        assert!(row.contains(&doc.replace('|', "\\|")), "{section}.{key}: {row} lacks {doc:?}");
    }
    assert_eq!(rows.len(), reference().len(), "docs/defaults.md lists a setting that does not exist");
}

#[test]
fn the_example_manifests_are_read() {
    let manifests = std::fs::read_dir(root().join("deploy/examples/manifests")).unwrap();
    let mut count = 0;
    for entry in manifests {
        let source = Source::open(&entry.unwrap().path()).unwrap();
        ManifestDraft::read(&source).unwrap_or_else(|problems| panic!("{problems}"));
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis-gateway.service");
    // The program is not installed where the unit expects it.
    let unit =
        text("deploy/systemd/portcullis-gateway.service").replace("/usr/local/bin/portcullis", "/bin/true");
    std::fs::write(&path, unit).unwrap();
    let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let Ok(verified) = verified else { return eprintln!("skipped: no systemd-analyze on this machine") };
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
    assert!(verified.status.success());
}
