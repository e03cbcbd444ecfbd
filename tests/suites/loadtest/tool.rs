//! The load tool as a child process, and its report.

use std::process::{Command, Output};

use lab::gateway::{binary, load_tester};
use serde_json::Value;

/// What a run printed, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) succeeded: bool,
    pub(crate) report: Value,
    complaint: String,
}

/// Runs a scenario against a gateway that is started for it.
pub(crate) fn run(arguments: &[&str]) -> Run {
    outcome(Command::new(load_tester()).args(arguments).arg("--gateway-binary").arg(binary()))
}

/// Attacks a gateway that runs already.
pub(crate) fn attack(options: &[(&str, &str)]) -> Run {
    let options = options.iter().flat_map(|(name, value)| [name, value]);
    outcome(Command::new(load_tester()).args(["redteam", "--pause", "0"]).args(options))
}

fn outcome(command: &mut Command) -> Run {
    let output: Output =
        command.args(["--output", "json", "--limit", "120"]).output().expect("the load tool runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Run { succeeded: output.status.success(), report, complaint }
}

impl Run {
    /// The median of a figure of a proxy.
    #[track_caller]
    pub(crate) fn figure(&self, subject: &str, name: &str) -> f64 {
        let figures = self.report["figures"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let found = figures.iter().find(|figure| figure["subject"] == subject && figure["figure"] == name);
        let figure = found.unwrap_or_else(|| panic!("no {name:?} of {subject} in {self:?}"));
        figure["median"].as_f64().expect("a number")
    }

    /// Fails with what the tool complained of, unless it succeeded.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert!(self.succeeded, "{}\n{}", self.complaint, self.report);
        self
    }
}
