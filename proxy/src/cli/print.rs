//! How does data reach the screen? Tables for people, JSON for programs, colour only where it is wanted.
//!
//! Text that came from elsewhere (a gateway, a file) cannot write to the terminal: control characters are escaped.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the command line prints")]

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::exit::Failure;

/// How to print data: for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// The screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
    colour: bool,
}

impl Printer {
    /// A printer of `format`; in colour when standard output is a terminal and `NO_COLOR` does not object.
    pub(crate) fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour: wanted && io::stdout().is_terminal() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints `data` as JSON, or else what `table` makes of it.
    pub(crate) fn data<T: Serialize>(
        &self,
        data: &T,
        table: impl FnOnce(&T) -> Table,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(data),
            Format::Table => self.text(&table(data).render(self.colour)),
        }
    }

    /// Prints `data` as indented JSON, whatever the format.
    pub(crate) fn json<T: Serialize>(&self, data: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(data).map_err(Failure::new)?;
        self.line(text)
    }

    /// Prints one line.
    pub(crate) fn line(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        self.text(&format!("{text}\n"))
    }

    /// Prints text as it is. A reader that went away (`| head`) ends the program quietly.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            done => {
                done.map_err(|fault| Failure::new(format_args!("cannot write to standard output: {fault}")))
            }
        }
    }

    /// Begins a fresh screen, where there is a screen to begin.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        if self.format == Format::Table && io::stdout().is_terminal() {
            self.text("\u{1b}[H\u{1b}[2J")
        } else {
            Ok(())
        }
    }

    /// Says on standard error what happened besides the data.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        eprintln!("{text}");
    }

    /// Shows how far a long work has come, where standard error is a terminal.
    pub(crate) fn progress(&self, what: &str, done: usize, all: usize) {
        if io::stderr().is_terminal() {
            let filled = "#".repeat((30 * done).checked_div(all).unwrap_or(30));
            let end = if done == all { "\n" } else { "" };
            eprint!("\r{what} [{filled:<30}] {done}/{all}{end}");
        }
    }

    /// Says on standard error why the command failed, and what to do.
    pub(crate) fn complain(&self, failure: &Failure) {
        eprintln!("portcullis: {}", failure.message);
        if let Some(help) = &failure.help {
            eprintln!("  = help: {help}");
        }
    }

    /// A word that stands out.
    pub(crate) fn strong(&self, word: &str) -> String {
        if self.colour { format!("\u{1b}[1m{word}\u{1b}[0m") } else { word.into() }
    }
}

/// Rows under headings.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    empty: &'static str,
}

impl Table {
    /// A table with these headings; with none at all, for pairs of a name and a value.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { headings: headings.map(str::to_owned).to_vec(), ..Self::default() }
    }

    /// What is said instead of a table without rows.
    pub(crate) fn or_say(self, empty: &'static str) -> Self {
        Self { empty, ..self }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn std::fmt::Display; N]) {
        self.rows.push(cells.iter().map(|cell| plain(&cell.to_string())).collect());
    }

    /// A row of a name and a value, where there is a value.
    pub(crate) fn pair(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.row([&name, &value]);
        }
    }

    fn render(&self, colour: bool) -> String {
        if self.rows.is_empty() && !self.empty.is_empty() {
            return format!("{}\n", self.empty);
        }
        let widths = self.widths();
        let mut text = String::new();
        if !self.headings.is_empty() {
            let line = aligned(&self.headings, &widths);
            let _ =
                if colour { writeln!(text, "\u{1b}[1m{line}\u{1b}[0m") } else { writeln!(text, "{line}") };
        }
        for row in &self.rows {
            text.push_str(&aligned(row, &widths));
            text.push('\n');
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).chain([self.headings.len()]).max().unwrap_or(0);
        let width_of = |column: usize| {
            let cells = self.rows.iter().chain([&self.headings]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width_of).collect()
    }
}

fn aligned(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:<width$}  ");
    }
    line.trim_end().to_owned()
}

/// Text on one line, with nothing in it that a terminal would obey.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(character.escape_unicode());
            }
            control if control.is_control() => safe.extend(control.escape_default()),
            harmless => safe.push(harmless),
        }
    }
    safe
}

/// Bytes as people read them: `512 B`, `3.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(count) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["ID", "DEVICE"]);
        table.row([&"1", &"laptop"]);
        table.row([&"1000", &"x"]);
        assert_eq!(table.render(false), "ID    DEVICE\n1     laptop\n1000  x\n");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(Table::new(["ID"]).or_say("no live sessions").render(false), "no live sessions\n");
    }

    #[test]
    fn text_from_elsewhere_cannot_write_to_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row([&"\u{1b}[2J\r\n\u{202e}x"]);
        let shown = table.render(false);
        assert!(!shown.contains(['\u{1b}', '\r', '\u{202e}']) && shown.lines().count() == 2, "{shown:?}");
    }

    #[test]
    fn bytes_are_rounded_down_to_one_digit() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10 << 20, "10.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
