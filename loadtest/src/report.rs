//! How is it said? One report per run: a table with a column per proxy, or JSON with all of it.
//!
//! The column of ratios compares the first proxy with the reference, when they were measured in turns in the same run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::figures::Figure;
use crate::machine;

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Everything a run found out, and what is needed to repeat it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: &'static str,
    pub(crate) command: String,
    pub(crate) when: String,
    pub(crate) machine: BTreeMap<&'static str, String>,
    pub(crate) versions: BTreeMap<String, String>,
    /// How it was measured, in words.
    pub(crate) method: Vec<String>,
    figures: Vec<Figure>,
    /// What became of each thing that was tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
    /// What was promised and is not so. With one of them the run has failed.
    faults: Vec<String>,
    /// The proxy that others are compared with, when it was measured beside them.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

/// One thing that must not succeed, and how it went.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// What was tried.
    pub(crate) name: String,
    /// What the proxy said.
    pub(crate) answer: String,
    /// Why, in the proxy's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Whether it was refused, and nothing of it came through.
    pub(crate) refused: bool,
    /// Whether the proxy has written it down; absent when nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evented: Option<bool>,
}

impl Finding {
    /// What is wrong about it.
    pub(crate) fn fault(&self) -> Option<String> {
        match (self.refused, self.evented) {
            (false, _) => Some(format!("came through: {} ({})", self.name, self.answer)),
            (true, Some(false)) => Some(format!("not evented: {}", self.name)),
            (true, _) => None,
        }
    }

    fn row(&self) -> Vec<String> {
        let evented = match self.evented {
            Some(true) => "evented",
            Some(false) => "NOT EVENTED",
            None => "not looked at",
        };
        let refused = if self.refused { "refused" } else { "CAME THROUGH" };
        let reason = self.reason.clone().unwrap_or_default();
        vec![self.name.clone(), refused.into(), self.answer.clone(), reason, evented.into()]
    }
}

impl Report {
    /// An empty report of this run.
    pub(crate) fn of(scenario: &'static str) -> Self {
        let command: Vec<String> = std::env::args().skip(1).collect();
        Self {
            scenario,
            command: format!("loadtest {}", command.join(" ")),
            when: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine: machine::describe(),
            versions: BTreeMap::from([("loadtest".into(), env!("CARGO_PKG_VERSION").into())]),
            method: Vec::new(),
            figures: Vec::new(),
            findings: Vec::new(),
            faults: Vec::new(),
            reference: None,
        }
    }

    pub(crate) fn version(&mut self, of: &str, version: impl Into<String>) {
        self.versions.insert(of.to_owned(), version.into());
    }

    /// Adds a line about the method, unless it is there already.
    pub(crate) fn method(&mut self, line: impl Into<String>) {
        let line = line.into();
        if !self.method.contains(&line) {
            self.method.push(line);
        }
    }

    pub(crate) fn figures(&mut self, figures: impl IntoIterator<Item = Figure>) {
        self.figures.extend(figures);
    }

    pub(crate) fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Notes that a promise is not kept.
    pub(crate) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Whether every promise is kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) fn reference(&mut self, subject: &str) {
        self.reference = Some(subject.to_owned());
    }

    /// Prints it to standard output.
    ///
    /// # Errors
    /// When nobody reads.
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(self)? + "\n",
            Format::Table => self.table(),
        };
        io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut text = format!("{}\n{}\n", self.command, self.when);
        // Writing to a String cannot fail.
        for (name, value) in &self.machine {
            let _ = writeln!(text, "{name}: {value}");
        }
        for (name, version) in &self.versions {
            let _ = writeln!(text, "{name}: {version}");
        }
        for line in &self.method {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
        if !self.findings.is_empty() {
            text.push_str(&align(&self.findings.iter().map(Finding::row).collect::<Vec<_>>()));
            text.push('\n');
        }
        text.push_str(&align(&self.rows()));
        for fault in &self.faults {
            let _ = writeln!(text, "FAILED: {fault}");
        }
        text
    }

    /// A head, then a row per figure: its name, the median and range of every subject, a ratio to the reference.
    fn rows(&self) -> Vec<Vec<String>> {
        let subjects = distinct(self.figures.iter().map(|figure| figure.subject.as_str()));
        let mut head = vec!["figure".to_owned()];
        head.extend(subjects.iter().map(|subject| (*subject).to_owned()));
        if let Some(reference) = &self.reference {
            let first = subjects.iter().find(|subject| *subject != reference).unwrap_or(&"");
            head.push(format!("{first} : {reference}"));
        }
        let names = distinct(self.figures.iter().map(|figure| figure.figure.as_str()));
        let rows = names.iter().map(|name| self.row(name, &subjects));
        std::iter::once(head).chain(rows).collect()
    }

    fn row(&self, name: &str, subjects: &[&str]) -> Vec<String> {
        let find = |subject: &str| {
            self.figures.iter().find(|figure| figure.figure == name && figure.subject == subject)
        };
        let mut row = vec![name.to_owned()];
        row.extend(subjects.iter().map(|subject| find(subject).map_or_else(String::new, cell)));
        if let Some(reference) = &self.reference {
            let base = find(reference);
            let other = subjects.iter().find(|subject| *subject != reference).and_then(|first| find(first));
            row.push(base.zip(other).map_or_else(String::new, |(base, other)| ratio(other, base)));
        }
        row
    }
}

fn cell(figure: &Figure) -> String {
    let Figure { median, least, greatest, unit, .. } = figure;
    if least.total_cmp(greatest).is_eq() {
        format!("{} {unit}", digits(*median))
    } else {
        format!("{} {unit} ({}–{})", digits(*median), digits(*least), digits(*greatest))
    }
}

fn ratio(other: &Figure, base: &Figure) -> String {
    if base.median > 0.0 { format!("{:.2}", other.median / base.median) } else { String::new() }
}

/// Three digits that mean something.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Says what goes on, when somebody watches.
pub(crate) fn progress(line: impl std::fmt::Display) {
    use std::io::IsTerminal as _;
    if io::stderr().is_terminal() {
        let _nobody_reads = writeln!(io::stderr(), "{line}");
    }
}

/// Says why there is no report.
pub(crate) fn complain(fault: &anyhow::Error) {
    let _nobody_reads = writeln!(io::stderr(), "loadtest: {fault:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: &[(&str, &str, f64)]) -> Report {
        let mut report = Report::of("test");
        report.figures(
            figures.iter().map(|(subject, figure, value)| Figure::single(subject, figure, "ms", *value)),
        );
        report
    }

    #[test]
    fn a_row_has_a_cell_per_subject_and_the_ratio_of_the_first_to_the_reference() {
        let mut report = report(&[("gateway", "x", 3.0), ("relay", "x", 2.0), ("gateway", "y", 0.5)]);
        report.reference("relay");
        assert_eq!(
            report.rows(),
            [
                vec!["figure", "gateway", "relay", "gateway : relay"],
                vec!["x", "3.00 ms", "2.00 ms", "1.50"],
                vec!["y", "0.500 ms", "", ""],
            ]
        );
    }

    #[test]
    fn what_came_through_or_was_not_evented_is_a_fault() {
        for (refused, evented, expected) in [
            (true, Some(true), None),
            (true, None, None),
            (true, Some(false), Some("not evented: x")),
            (false, Some(true), Some("came through: x (200)")),
        ] {
            let finding = Finding { name: "x".into(), answer: "200".into(), reason: None, refused, evented };
            assert_eq!(finding.fault().as_deref(), expected);
        }
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (value, expected) in
            [(1234.5, "1234"), (99.95, "100.0"), (12.34, "12.3"), (1.0, "1.00"), (0.4567, "0.457")]
        {
            assert_eq!(digits(value), expected);
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["a", "b"], ["long", "c"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "a     b\nlong  c\n");
    }
}
