//! Where do table and pictures go? Into a page, between two marks: what others wrote around them stays.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::measured::{Measured, Part};
use super::plan::{Better, What};
use super::table;
use crate::plot::{Bar, Bars, Group, Tone, svg};
use crate::report::digits;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Draws a picture for each scenario into the directory where it is kept.
///
/// # Errors
/// When one cannot be written.
pub(super) fn draw(kept: &[Measured], dir: &Path) -> anyhow::Result<()> {
    for measured in kept {
        if let Some(bars) = bars(measured) {
            fs::write(dir.join(picture(measured.what)), svg(&bars))?;
        }
    }
    Ok(())
}

/// Puts table and pictures between the marks of a page; `pictures` is the way from there to where they are.
///
/// # Errors
/// When the page cannot be read or written, or has no marks.
pub(super) fn rewrite(page: &Path, kept: &[Measured], pictures: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let new = between(&old, &block(kept, pictures))
        .with_context(|| format!("{} has no marks {BEGIN} and {END}", page.display()))?;
    fs::write(page, new).with_context(|| page.display().to_string())
}

fn between(page: &str, block: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{block}\n{END}{after}"))
}

/// Table, circumstances, and pictures.
pub(super) fn block(kept: &[Measured], pictures: &str) -> String {
    let mut text = table::markdown(kept);
    text.push_str(&circumstances(kept));
    for measured in kept.iter().filter(|measured| bars(measured).is_some()) {
        let what = measured.what;
        text.push_str(&format!("\n![{}]({pictures}{})\n", what.title(), picture(what)));
    }
    text
}

fn picture(what: What) -> String {
    format!("{}.svg", what.name())
}

/// When and on what it was measured, and how each scenario is repeated.
fn circumstances(kept: &[Measured]) -> String {
    let Some(last) = kept.iter().max_by(|a, b| a.when.cmp(&b.when)) else { return String::new() };
    let machine = |key: &str| last.machine.get(key).map_or("unknown", String::as_str);
    let versions: Vec<_> = last.versions.iter().map(|(of, version)| format!("{of} {version}")).collect();
    let mut text = format!(
        "\nMachine: {}, {} cores, kernel {}. Versions: {}.\n\n",
        machine("processor"),
        machine("cores"),
        machine("kernel"),
        versions.join(", "),
    );
    for line in &last.method {
        text.push_str(&format!("- {line}\n"));
    }
    for measured in kept {
        let Measured { what, options, when, .. } = measured;
        text.push_str(&format!("- {} (`{options}`), {when}\n", what.name()));
    }
    text
}

/// The costs of a scenario as bars; `None` when it has none.
fn bars(measured: &Measured) -> Option<Bars> {
    let costs = measured.what.rows().iter().filter(|row| row.better == Better::Less);
    let groups: Vec<_> = costs
        .filter_map(|row| {
            let unit = measured.figures.iter().find(|figure| figure.figure == row.figure)?.unit.clone();
            let bars = table::columns(std::slice::from_ref(measured)).into_iter().filter_map(|column| {
                let value = measured.median(&column.name, row.figure)?;
                let (label, text) = (column.name, format!("{} {unit}", digits(value)));
                Some(Bar { label, value, text, tone: tone(column.part) })
            });
            Some(Group { label: row.label.to_owned(), bars: bars.collect() })
        })
        .collect();
    let caption = "Medians; shorter is better. Dashed: no TLS on the side of devices, not comparable.";
    let (title, caption) = (measured.what.title().to_owned(), caption.to_owned());
    (!groups.is_empty()).then_some(Bars { title, caption, groups })
}

fn tone(part: Part) -> Tone {
    match part {
        Part::Gateway => Tone::Subject,
        Part::Relay => Tone::Reference,
        Part::Peer => Tone::Other,
        Part::Plain => Tone::Apart,
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::tests::example;
    use super::*;

    fn kept() -> Vec<Measured> {
        let figure = "upload, proxy processor time per GiB";
        let of = [("portcullis", Part::Gateway, Some(0.5)), ("squid", Part::Peer, Some(1.0))];
        vec![example(What::Transfer, figure, &of)]
    }

    #[test]
    fn what_stands_around_the_marks_stays() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.md");
        fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        for _twice in 0..2 {
            rewrite(&page, &kept(), "pictures/").unwrap();
            let text = fs::read_to_string(&page).unwrap();
            assert!(text.starts_with(&format!("before\n{BEGIN}\n\n| median |")), "{text}");
            assert!(text.ends_with(&format!("(pictures/transfer.svg)\n\n{END}\nafter\n")), "{text}");
            assert!(!text.contains("old"), "{text}");
        }
    }

    #[test]
    fn a_page_without_marks_is_left_alone() {
        assert_eq!(between("text", "block"), None);
        assert_eq!(between(&format!("{END} {BEGIN}"), "block"), None);
    }

    #[test]
    fn the_circumstances_say_machine_versions_and_options() {
        let text = block(&kept(), "");
        for part in
            ["2 cores", "squid 5.7", "- pinned\n", "- transfer (`--rounds 5`), 2026-01-02T03:04:05Z\n"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn every_scenario_with_costs_has_a_picture() {
        let dir = tempfile::tempdir().unwrap();
        draw(&kept(), dir.path()).unwrap();
        let picture = fs::read_to_string(dir.path().join("transfer.svg")).unwrap();
        assert!(picture.contains("upload of a GiB, processor time: portcullis 0.500 ms, squid 1.00 ms."));
    }
}
