//! `portcullis check`: what is wrong with these files, before anything depends on them?
//!
//! What a file is supposed to be is told by its name and its text. Each is read by the code that will read it in
//! earnest, so what passes here is what a gateway takes.

use std::path::{Path, PathBuf};

use config::{ApiToken, ControlSettings, Format, GatewaySettings, ManifestDraft, Problem, Problems, Source};
use policy_sync::KeyRing;
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::manifest::document::Document;
use super::{Printer, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Settings, manifests, key rings, files of tokens, signed files; of directories, everything in them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    GatewaySettings,
    ControlSettings,
    Tokens,
    KeyRing,
    Manifest,
    SignedFile,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::GatewaySettings => "settings of a gateway",
            Self::ControlSettings => "settings of a control plane",
            Self::Tokens => "a file of tokens",
            Self::KeyRing => "a key ring",
            Self::Manifest => "a manifest",
            Self::SignedFile => "a signed file (its signatures are checked by `manifest verify`)",
        }
    }

    fn of(source: &Source) -> Self {
        let text = String::from_utf8_lossy(source.bytes());
        let has = |header: &str| text.lines().any(|line| line.trim().starts_with(header));
        match source.format() {
            // Both kinds of settings can have `[keys]` or `[control]`, but only control planes sign, and only gateways have `[gateway]`.
            Format::Toml if has("[[keys]]") => Self::KeyRing,
            Format::Toml if has("[[tokens]]") || is_named(source, "tokens") => Self::Tokens,
            Format::Toml if has("[gateway]") => Self::GatewaySettings,
            Format::Toml if has("[keys]") || has("[store]") || is_named(source, "control") => {
                Self::ControlSettings
            }
            Format::Toml => Self::GatewaySettings,
            Format::Json if text.contains("\"payloadType\"") => Self::SignedFile,
            Format::Json | Format::Yaml => Self::Manifest,
        }
    }
}

fn is_named(source: &Source, stem: &str) -> bool {
    Path::new(source.name()).file_stem().is_some_and(|name| name == stem)
}

#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    kind: Kind,
    problems: Vec<ProblemView>,
}

#[derive(Debug, Serialize)]
struct ProblemView {
    line: usize,
    column: usize,
    path: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        let Problem { line, column, path, message, help, .. } = problem.clone();
        Self { line, column, path, message, help }
    }
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let mut findings = Vec::new();
    let mut problems = Problems::default();
    for path in files(&arguments.files)? {
        let source = settings::open(&path)?;
        let kind = Kind::of(&source);
        let found = examine(&source, kind).err().unwrap_or_default();
        findings.push(Finding {
            file: source.name().to_owned(),
            kind,
            problems: found.iter().map(ProblemView::from).collect(),
        });
        problems.extend(found);
    }
    if printer.is_json() {
        printer.json(&findings)?;
        return Ok(if problems.is_empty() { Exit::Done } else { Exit::BadConfiguration });
    }
    for sound in findings.iter().filter(|finding| finding.problems.is_empty()) {
        printer.line(format_args!("{}: {}, in order", sound.file, sound.kind.words()))?;
    }
    if problems.is_empty() { Ok(Exit::Done) } else { Err(problems.into()) }
}

fn examine(source: &Source, kind: Kind) -> Result<(), Problems> {
    match kind {
        Kind::GatewaySettings => GatewaySettings::read(source).map(drop),
        Kind::ControlSettings => ControlSettings::read(source).map(drop),
        Kind::Tokens => ApiToken::read_all(source).map(drop),
        Kind::KeyRing => KeyRing::parse(source.name(), &String::from_utf8_lossy(source.bytes())).map(drop),
        Kind::Manifest => ManifestDraft::read(source).map(drop),
        Kind::SignedFile => Document::signed(source).map(drop),
    }
}

/// The files that were named, and those of the directories that were: every one whose name says what it is.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() { walk(path, &mut files)? } else { files.push(path.clone()) }
    }
    Ok(files)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let unreadable = |fault: std::io::Error| settings::unreadable(directory, &fault);
    let entries: Result<Vec<_>, _> = std::fs::read_dir(directory).map_err(unreadable)?.collect();
    let mut paths: Vec<PathBuf> =
        entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let known = path
            .extension()
            .is_some_and(|kind| ["toml", "yaml", "yml", "json"].iter().any(|known| kind == *known));
        if hidden {
            continue;
        }
        if path.is_dir() {
            walk(&path, files)?;
        } else if known {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_name_and_text() {
        for (name, text, expected) in [
            ("gateway.toml", "[listen]\n", Kind::GatewaySettings),
            ("keys.toml", "# who signs\n[[keys]]\nid = \"a\"\n", Kind::KeyRing),
            ("control.toml", "[listen]\n", Kind::ControlSettings),
            ("production.toml", "[trust]\n[keys]\nring = \"a\"\n", Kind::ControlSettings),
            ("control.toml", "[gateway]\n", Kind::GatewaySettings),
            ("gateway.toml", "[control]\nca = \"a\"\n", Kind::GatewaySettings),
            ("api.toml", "[[tokens]]\nid = \"a\"\n", Kind::Tokens),
            ("tokens.toml", "# nobody yet\n", Kind::Tokens),
            ("m.yaml", "agent: a\n", Kind::Manifest),
            ("m.json", "{\"agent\": \"a\"}", Kind::Manifest),
            ("m.dsse.json", "{\"payloadType\": \"x\"}", Kind::SignedFile),
        ] {
            assert_eq!(Kind::of(&Source::new(name, text)), expected, "{name}");
        }
    }

    #[test]
    fn the_files_of_a_directory_are_found_but_not_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.toml", "notes.txt", ".hidden.yaml"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = files(&[directory.path().into()]).unwrap();
        assert_eq!(found, [directory.path().join("a.toml"), directory.path().join("b.yaml")]);
    }
}
