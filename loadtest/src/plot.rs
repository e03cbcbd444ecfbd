//! How does a figure look? Bars in a picture of its own (SVG 1.1): no script, no font from elsewhere, its numbers as text.
//!
//! Knows nothing of proxies: it draws what it is given.

use std::fmt::Write as _;

/// Width of a picture, in its own units.
const WIDTH: f64 = 760.0;
/// Where bars begin; their labels stand before it.
const LEFT: f64 = 150.0;
/// Where the longest bar ends; its number stands behind it.
const RIGHT: f64 = 660.0;
/// From bar to bar.
const STEP: f64 = 22.0;
/// Height of a bar.
const THICKNESS: f64 = 16.0;
/// Above a group, for its label.
const HEADING: f64 = 34.0;
/// Above everything, for the title and what is under it.
const TOP: f64 = 58.0;
/// Below everything.
const BOTTOM: f64 = 16.0;

/// A picture of groups of bars.
#[derive(Debug)]
pub(crate) struct Bars {
    /// What it shows.
    pub(crate) title: String,
    /// How it is read.
    pub(crate) caption: String,
    /// What is compared, group by group. Each has its own scale.
    pub(crate) groups: Vec<Group>,
}

/// Bars of one figure.
#[derive(Debug)]
pub(crate) struct Group {
    /// The figure and its unit.
    pub(crate) label: String,
    /// Its bars.
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
#[derive(Debug)]
pub(crate) struct Bar {
    /// Whose it is.
    pub(crate) label: String,
    /// How long it is, against the others of its group.
    pub(crate) value: f64,
    /// The number beside it.
    pub(crate) text: String,
    /// How it is drawn.
    pub(crate) tone: Tone,
}

/// What part a bar plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// What the picture is about.
    Subject,
    /// What others are measured against.
    Reference,
    /// The others.
    Other,
    /// Shown, but not to be compared.
    Apart,
}

impl Tone {
    fn paint(self) -> &'static str {
        match self {
            Self::Subject => r##"fill="#1a5fb4""##,
            Self::Reference => r##"fill="#5e5c64""##,
            Self::Other => r##"fill="#e08a1e""##,
            Self::Apart => r##"fill="none" stroke="#5e5c64" stroke-dasharray="3 2""##,
        }
    }
}

/// Draws it.
pub(crate) fn svg(bars: &Bars) -> String {
    let mut body = String::new();
    let mut top = TOP;
    for group in &bars.groups {
        top = draw(&mut body, group, top);
    }
    let height = top + BOTTOM;
    let (title, caption, told) = (escape(&bars.title), escape(&bars.caption), escape(&tell(bars)));
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">
<title id="t">{title}</title>
<desc id="d">{told}</desc>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="bold" fill="#1c1c1c">{title}</text>
<text x="16" y="46" fill="#4a4a4a">{caption}</text>
{body}</svg>
"##
    )
}

/// Draws a group from `top` on, and says where it ends.
fn draw(body: &mut String, group: &Group, top: f64) -> f64 {
    let longest = group.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let mut y = top + HEADING;
    // Writing to a String cannot fail.
    let _ = writeln!(
        body,
        r##"<text x="16" y="{:.0}" font-weight="bold" fill="#1c1c1c">{}</text>"##,
        y - 10.0,
        escape(&group.label)
    );
    for bar in &group.bars {
        let width = if longest > 0.0 { (RIGHT - LEFT) * bar.value / longest } else { 0.0 };
        let (label, text, paint) = (escape(&bar.label), escape(&bar.text), bar.tone.paint());
        let base = y + THICKNESS - 3.5;
        let _ = writeln!(
            body,
            r##"<text x="{:.0}" y="{base:.1}" text-anchor="end" fill="#1c1c1c">{label}</text><rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{THICKNESS}" {paint}/><text x="{:.1}" y="{base:.1}" fill="#1c1c1c">{text}</text>"##,
            LEFT - 8.0,
            LEFT + width + 6.0,
        );
        y += STEP;
    }
    y
}

/// All of it in a sentence for each group.
fn tell(bars: &Bars) -> String {
    let sentences = bars.groups.iter().map(|group| {
        let each = group.bars.iter().map(|bar| format!("{} {}", bar.label, bar.text));
        format!("{}: {}.", group.label, each.collect::<Vec<_>>().join(", "))
    });
    sentences.collect::<Vec<_>>().join(" ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> String {
        let bar =
            |label: &str, value, tone| Bar { label: label.into(), value, text: format!("{value} ms"), tone };
        svg(&Bars {
            title: "Cost & <more>".into(),
            caption: "shorter is better".into(),
            groups: vec![Group {
                label: "a session".into(),
                bars: vec![bar("ours", 1.0, Tone::Subject), bar("theirs", 2.0, Tone::Other)],
            }],
        })
    }

    #[test]
    fn the_longest_bar_fills_the_width_and_others_are_in_proportion() {
        let picture = picture();
        assert!(picture.contains(r##"width="510.0" height="16" fill="#e08a1e""##), "{picture}");
        assert!(picture.contains(r##"width="255.0" height="16" fill="#1a5fb4""##), "{picture}");
    }

    #[test]
    fn it_tells_its_numbers_to_those_who_do_not_see_it() {
        assert!(picture().contains(r#"<desc id="d">a session: ours 1 ms, theirs 2 ms.</desc>"#));
    }

    #[test]
    fn text_is_escaped() {
        let picture = picture();
        assert!(picture.contains(r#"<title id="t">Cost &amp; &lt;more&gt;</title>"#), "{picture}");
        assert!(!picture.contains("<more>"));
    }

    #[test]
    fn a_group_without_values_is_drawn_without_bars() {
        let none = Bar { label: "a".into(), value: 0.0, text: "0".into(), tone: Tone::Other };
        let group = Group { label: "x".into(), bars: vec![none] };
        let picture = svg(&Bars { title: String::new(), caption: String::new(), groups: vec![group] });
        assert!(picture.contains(r#"width="0.0""#) && !picture.contains("NaN"), "{picture}");
    }
}
