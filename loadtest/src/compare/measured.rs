//! What is kept of a comparison? A file for each scenario (JSON), from which tables and pictures are made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::plan::What;
use crate::figures::Figure;

/// What one scenario gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Which scenario.
    pub(crate) what: What,
    /// How the load is told to make it, as options of the scenario.
    pub(crate) options: String,
    /// How the comparison was called.
    pub(crate) command: String,
    /// When, in UTC.
    pub(crate) when: String,
    /// On what.
    pub(crate) machine: BTreeMap<String, String>,
    /// Versions of everything.
    pub(crate) versions: BTreeMap<String, String>,
    /// How it was measured, in words.
    pub(crate) method: Vec<String>,
    /// Who was measured, in turns.
    pub(crate) subjects: Vec<Measurand>,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
}

/// One who was to be measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measurand {
    /// What it is called.
    pub(crate) name: String,
    /// What part it plays.
    pub(crate) part: Part,
    /// Why it was left out of this scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
}

/// The part of a proxy in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// Ours.
    Gateway,
    /// The bare relay.
    Relay,
    /// Another proxy behind mTLS.
    Peer,
    /// Another proxy, whose work is less: it has no TLS on the side of devices.
    Plain,
}

impl Measured {
    /// The median of a figure of somebody.
    pub(crate) fn median(&self, subject: &str, figure: &str) -> Option<f64> {
        let found = self.figures.iter().find(|found| found.subject == subject && found.figure == figure);
        found.map(|found| found.median)
    }

    /// Keeps it in a directory, instead of what is there of the same scenario.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(&self, dir: &Path) -> anyhow::Result<()> {
        let file = file(dir, self.what);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    /// All that a directory keeps, in the order of the plan.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub(crate) fn all(dir: &Path) -> anyhow::Result<Vec<Self>> {
        let files = What::ALL.into_iter().map(|what| file(dir, what)).filter(|file| file.exists());
        let read = |file: PathBuf| {
            let text = fs::read_to_string(&file)?;
            serde_json::from_str(&text).with_context(|| file.display().to_string())
        };
        files.map(read).collect()
    }
}

fn file(dir: &Path, what: What) -> PathBuf {
    dir.join(what.name()).with_extension("json")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A scenario with figures of three: `(subject, part, value)`; no value means that it was left out.
    pub(in crate::compare) fn example(
        what: What,
        figure: &str,
        of: &[(&str, Part, Option<f64>)],
    ) -> Measured {
        let figures =
            of.iter().filter_map(|(name, _, value)| Some(Figure::single(name, figure, "ms", (*value)?)));
        let subjects = of.iter().map(|(name, part, value)| Measurand {
            name: (*name).into(),
            part: *part,
            left_out: value.is_none().then(|| "it cannot".into()),
        });
        Measured {
            what,
            options: "--rounds 5".into(),
            command: "loadtest compare".into(),
            when: "2026-01-02T03:04:05Z".into(),
            machine: BTreeMap::from([("cores".into(), "2".into())]),
            versions: BTreeMap::from([("squid".into(), "5.7".into())]),
            method: vec!["pinned".into()],
            subjects: subjects.collect(),
            figures: figures.collect(),
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let kept = example(What::Idle, "x", &[("a", Part::Gateway, Some(1.5)), ("b", Part::Plain, None)]);
        kept.keep(dir.path()).unwrap();
        let read = Measured::all(dir.path()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(
            (read[0].what, read[0].median("a", "x"), read[0].median("b", "x")),
            (What::Idle, Some(1.5), None)
        );
        assert_eq!(read[0].subjects[1].left_out.as_deref(), Some("it cannot"));
    }
}
