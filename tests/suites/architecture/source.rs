//! The project's own source files, as text; and the shape they keep.

use std::path::{Path, PathBuf};

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

/// A Rust file of the project.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Its path from the root.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// Every Rust file under these folders of the root.
pub(crate) fn files(folders: &[&str]) -> Vec<SourceFile> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<SourceFile>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            let path = path.strip_prefix(root()).expect("inside the root").display().to_string();
            found.push(SourceFile { path, text });
        }
    }
}

impl SourceFile {
    /// Whether it holds nothing but tests.
    pub(crate) fn is_tests(&self) -> bool {
        let named = |part: &str| part == "tests" || part == "tests.rs" || part == "benches" || part == "fuzz";
        self.path.split('/').any(named)
            || self.path.ends_with("testing.rs")
            || self.path.ends_with("races.rs")
            || self.path.contains("/lab")
    }

    /// Its code up to the tests at its end, without comments.
    pub(crate) fn code(&self) -> String {
        let product = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let uncommented = product.lines().map(|line| line.split("//").next().unwrap_or_default());
        uncommented.collect::<Vec<_>>().join("\n")
    }
}

/// The product's crates, in the order of their arrows.
pub(crate) const PRODUCT: [&str; 5] =
    ["config/src", "certs/src", "audit/src", "policy-sync/src", "proxy/src"];

#[test]
fn files_answer_one_question_and_stay_short() {
    for file in files(&PRODUCT) {
        let lines = file.code().lines().count();
        assert!(file.is_tests() || lines <= 450, "{} has {lines} lines", file.path);
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in files(&PRODUCT) {
        let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        assert!(file.is_tests() || first.starts_with("//!"), "{} begins with {first:?}", file.path);
    }
}

#[test]
fn no_module_is_called_by_a_word_that_says_nothing() {
    let empty = ["manager", "handler", "helper", "helpers", "util", "utils", "common", "core", "misc"];
    for file in files(&PRODUCT) {
        let name = Path::new(&file.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!empty.contains(&name), "{}", file.path);
    }
}
