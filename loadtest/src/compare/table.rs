//! How does a comparison read? One Markdown table: a row a figure, a column a proxy, and how ours stands to the others.

use std::fmt::Write as _;

use super::measured::{Measurand, Measured, Part};
use super::plan::{Better, Row};
use crate::report::digits;

/// The table, and under it what its marks mean. Empty without figures.
pub(super) fn markdown(kept: &[Measured]) -> String {
    let columns = columns(kept);
    let mut notes = Notes::default();
    let rows: Vec<String> = kept
        .iter()
        .flat_map(|measured| measured.what.rows().iter().map(move |row| (measured, row)))
        .filter_map(|(measured, row)| line(measured, row, &columns, &mut notes))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = head(kept, &columns);
    rows.iter().for_each(|row| text.push_str(row));
    text.push_str(&notes.markdown(&columns));
    text
}

/// Everybody who was to be measured in any scenario: ours, the relay, those behind mTLS, those without.
pub(super) fn columns(kept: &[Measured]) -> Vec<Measurand> {
    let mut columns: Vec<Measurand> = Vec::new();
    for subject in kept.iter().flat_map(|measured| &measured.subjects) {
        if columns.iter().all(|known| known.name != subject.name) {
            columns.push(subject.clone());
        }
    }
    columns.sort_by_key(|column| column.part as u8);
    columns
}

fn head(kept: &[Measured], columns: &[Measurand]) -> String {
    let version = |name: &str| kept.iter().rev().find_map(|measured| measured.versions.get(name));
    let name = |column: &Measurand| match (column.part, version(&column.name)) {
        (Part::Gateway, _) => "**Portcullis**".to_owned(),
        (_, Some(version)) => format!("{} {version}", column.name).trim_end().to_owned(),
        (_, None) => column.name.clone(),
    };
    let names: String = columns.iter().map(|column| format!(" {} |", name(column))).collect();
    let rule = "--:|".repeat(columns.len() + 2);
    format!("| median |{names} to the relay | to the best peer |\n|---|{rule}\n")
}

/// A row of the table; `None` when nobody has the figure.
fn line(measured: &Measured, row: &Row, columns: &[Measurand], notes: &mut Notes) -> Option<String> {
    let unit = &measured.figures.iter().find(|figure| figure.figure == row.figure)?.unit;
    let mut line = format!("| {}, {unit} |", row.label);
    for column in columns {
        // Writing to a String cannot fail.
        let _ = write!(line, " {} |", cell(measured, row, column, notes));
    }
    let ours = of_part(measured, row, Part::Gateway).first().copied();
    let relay = of_part(measured, row, Part::Relay).first().copied();
    let best = best(&of_part(measured, row, Part::Peer), row.better);
    let _ = writeln!(line, " {} | {} |", ratio(ours, relay), ratio(ours, best));
    Some(line)
}

fn cell(measured: &Measured, row: &Row, column: &Measurand, notes: &mut Notes) -> String {
    let Some(value) = measured.median(&column.name, row.figure) else {
        let why = measured.subjects.iter().find(|subject| subject.name == column.name);
        return format!("–{}", notes.mark(&column.name, why.and_then(|why| why.left_out.as_deref())));
    };
    match column.part {
        Part::Gateway => format!("**{}**", digits(value)),
        Part::Relay | Part::Peer => digits(value),
        Part::Plain => format!("({})", digits(value)),
    }
}

/// The medians of those who play a part.
fn of_part(measured: &Measured, row: &Row, part: Part) -> Vec<f64> {
    let subjects = measured.subjects.iter().filter(|subject| subject.part == part);
    subjects.filter_map(|subject| measured.median(&subject.name, row.figure)).collect()
}

fn best(values: &[f64], better: Better) -> Option<f64> {
    let values = values.iter().copied();
    match better {
        Better::Less => values.min_by(f64::total_cmp),
        Better::More => values.max_by(f64::total_cmp),
    }
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("× {:.2}", ours / theirs),
        _ => "–".to_owned(),
    }
}

/// Why cells are empty, numbered in the order in which they appear.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    /// The mark of a reason.
    fn mark(&mut self, subject: &str, why: Option<&str>) -> String {
        let note = format!("{subject}: {}", why.unwrap_or("not measured"));
        let known = self.0.iter().position(|known| *known == note);
        let number = known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!(" <sup>{}</sup>", number + 1)
    }

    fn markdown(&self, columns: &[Measurand]) -> String {
        let mut text = String::new();
        let plain = columns.iter().filter(|column| column.part == Part::Plain);
        for column in plain {
            let _ = writeln!(
                text,
                "\n(In brackets: {} has no TLS on the side of devices. Its work is less, and does not compare.)",
                column.name
            );
        }
        for (number, note) in self.0.iter().enumerate() {
            let _ = writeln!(text, "\n<sup>{}</sup> {note}.", number + 1);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::tests::example;
    use super::super::plan::What;
    use super::*;

    #[test]
    fn ours_stands_first_and_is_compared_with_the_relay_and_the_best_peer_behind_tls() {
        let kept = example(
            What::Connect,
            "proxy processor time per session",
            &[
                ("tinyproxy", Part::Plain, Some(0.07)),
                ("squid", Part::Peer, Some(1.6)),
                ("envoy", Part::Peer, Some(0.8)),
                ("portcullis", Part::Gateway, Some(0.4)),
                ("bare relay", Part::Relay, Some(0.5)),
            ],
        );
        assert_eq!(
            markdown(&[kept]),
            "| median | **Portcullis** | bare relay | squid 5.7 | envoy | tinyproxy | to the relay | to the best peer |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n\
             | full handshake and CONNECT, processor time, ms | **0.400** | 0.500 | 1.60 | 0.800 | (0.070) | × 0.80 | × 0.50 |\n\
             \n(In brackets: tinyproxy has no TLS on the side of devices. Its work is less, and does not compare.)\n"
        );
    }

    #[test]
    fn an_empty_cell_has_a_note_that_says_why() {
        let kept = example(
            What::H2,
            "proxy processor time per session",
            &[("portcullis", Part::Gateway, Some(1.0)), ("squid", Part::Peer, None)],
        );
        let text = markdown(&[kept]);
        assert!(text.contains("| **1.00** | – <sup>1</sup> | – | – |\n"), "{text}");
        assert!(text.ends_with("\n<sup>1</sup> squid: it cannot.\n"), "{text}");
    }

    #[test]
    fn of_a_rate_the_greatest_is_the_best() {
        assert_eq!(best(&[1.0, 3.0, 2.0], Better::More), Some(3.0));
        assert_eq!(best(&[1.0, 3.0, 2.0], Better::Less), Some(1.0));
        assert_eq!(best(&[], Better::Less), None);
    }

    #[test]
    fn without_figures_there_is_no_table() {
        assert_eq!(markdown(&[]), "");
    }
}
