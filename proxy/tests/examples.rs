//! The examples under `deploy/` and the table of defaults: complete, and true.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says by panicking"
)]

use std::path::{Path, PathBuf};

use config::settings::{DefaultValue, Program, REPEATED, SettingDoc, reference};
use config::{ControlSettings, GatewaySettings, ManifestDraft, Source};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above the crate").to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// The example of a program's settings.
fn example(program: Program) -> String {
    text(&format!("deploy/examples/{}", program.file_name()))
}

#[test]
fn the_example_settings_are_read() {
    let source = |program: Program| Source::new(program.file_name(), example(program));
    GatewaySettings::read(&source(Program::Gateway)).unwrap_or_else(|problems| panic!("{problems}"));
    ControlSettings::read(&source(Program::Control)).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn what_is_commented_out_in_the_example_of_a_control_plane_is_read_too() {
    let mut text = example(Program::Control);
    for (SettingDoc { key, .. }, section) in
        reference(Program::Control).iter().map(|setting| (setting, setting.section))
    {
        text = text.replace(&format!("# {key} = "), &format!("{key} = "));
        text = text.replace(&format!("# [{section}]"), &format!("[{section}]"));
        text = text.replace(&format!("# [[{section}]]"), &format!("[[{section}]]"));
    }
    assert!(REPEATED.iter().all(|section| text.contains(&format!("\n[[{section}]]"))));
    let text = text.replace("\"embedded\"", "\"nats:tls://nats.example.org:4222\"");
    let text = text.replace("\ngateways = ", "\n# gateways = ");
    let source = Source::new("control.toml", text);
    ControlSettings::read(&source).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn the_example_settings_hold_every_key_with_its_default() {
    for program in Program::ALL {
        let example = example(program);
        let mut section = String::new();
        let mut lines = Vec::new();
        for line in example.lines().map(|line| line.trim_start_matches("# ")) {
            match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                Some(name) => section = name.trim_matches(['[', ']']).to_owned(),
                None => lines.push(format!("{section}.{line}")),
            }
        }
        for SettingDoc { section, key, default, doc } in reference(program) {
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
}

/// The part of `docs/defaults.md` that is about a program.
fn defaults(program: Program) -> String {
    let page = text("docs/defaults.md");
    let (gateway, control) =
        page.split_once("\n# Settings of a control plane").expect("both programs have their part");
    match program {
        Program::Gateway => gateway.to_owned(),
        Program::Control => control.to_owned(),
    }
}

#[test]
fn every_setting_is_in_the_table_of_defaults_with_its_default() {
    for program in Program::ALL {
        let page = defaults(program);
        let mut section = "";
        let mut rows = Vec::new();
        for line in page.lines() {
            match line.strip_prefix("## [").and_then(|line| line.strip_suffix(']')) {
                Some(name) => section = name,
                None if line.starts_with("| `") => rows.push((section, line)),
                None => {}
            }
        }
        for SettingDoc { section, key, default, doc } in reference(program) {
            let default = match default {
                DefaultValue::Toml(value) => format!("`{value}`"),
                DefaultValue::Required => "required".into(),
                DefaultValue::Absent(instead) => (*instead).to_owned(),
            };
            let is_it =
                |(named, row): &&(&str, &str)| named == section && row.starts_with(&format!("| `{key}`"));
            let (_, row) = rows.iter().find(is_it).unwrap_or_else(|| panic!("no row for {section}.{key}"));
            assert!(row.contains(&default), "{section}.{key}: {row} lacks {default}");
            assert!(row.contains(&doc.replace('|', "\\|")), "{section}.{key}: {row} lacks {doc:?}");
        }
        assert_eq!(
            rows.len(),
            reference(program).len(),
            "docs/defaults.md lists a setting that does not exist"
        );
    }
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
fn the_units_are_ones_that_systemd_takes() {
    for name in ["portcullis-gateway.service", "portcullis-control.service"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        // The program is not installed where the unit expects it.
        let unit = text(&format!("deploy/systemd/{name}")).replace("/usr/local/bin/portcullis", "/bin/true");
        std::fs::write(&path, unit).unwrap();
        let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&path).output();
        let Ok(verified) = verified else { return eprintln!("skipped: no systemd-analyze on this machine") };
        assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
        assert!(verified.status.success());
    }
}
