//! YAML 1.2, of which only what JSON could say: one document, no anchors, no aliases, no tags, text keys.
//!
//! Plain words are typed by the core schema, and what YAML 1.1 readers take for something else (`yes`, `0777`, `1e3`) is
//! text to nobody: it must be quoted. Without aliases nothing can grow beyond the text; depth is bounded as events
//! come.

use std::collections::HashSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::DEEPEST;
use super::tree::{Entry, Node, Place, Value};
use super::walk::Walk;

/// Reads one YAML document.
pub(super) fn read(text: &str, walk: &Walk<'_>) -> Option<Node> {
    let mut builder = Builder { open: Vec::new(), document: None, documents: 0, walk };
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => builder.take(event, place(&span.start))?,
            Err(error) => {
                builder.syntax(&error, text);
                return None;
            }
        }
    }
    if builder.document.is_none() {
        walk.problem(Place::default(), "", "the file is empty", None);
    }
    builder.document
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

struct Builder<'w> {
    open: Vec<Open>,
    document: Option<Node>,
    documents: usize,
    walk: &'w Walk<'w>,
}

/// A list or table whose end has not come yet.
enum Open {
    List { at: Place, items: Vec<Node> },
    Table { at: Place, entries: Vec<Entry>, keys: HashSet<String>, key: Option<(String, Place)> },
}

impl Builder<'_> {
    /// Takes one event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, at: Place) -> Option<()> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) => self.begin_document(at),
            Event::Alias(_) => self.refuse(at, "an alias (`*name`) is not permitted", Some(QUOTE_STAR)),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_plain(at, anchor, tag.is_some())?;
                self.scalar(&text, style, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_plain(at, anchor, tag.is_some())?;
                self.descend(Open::List { at, items: Vec::new() }, at)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_plain(at, anchor, tag.is_some())?;
                self.descend(Open::Table { at, entries: Vec::new(), keys: HashSet::new(), key: None }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop()? {
                Open::List { at, items } => self.add(Node { at, value: Value::List(items) }),
                Open::Table { at, entries, .. } => self.add(Node { at, value: Value::Table(entries) }),
            },
        }
    }

    fn begin_document(&mut self, at: Place) -> Option<()> {
        self.documents += 1;
        if self.documents == 1 {
            Some(())
        } else {
            self.refuse(at, "the file has more than one document", None)
        }
    }

    fn check_plain(&self, at: Place, anchor: usize, tagged: bool) -> Option<()> {
        if anchor != 0 {
            return self.refuse(at, "an anchor (`&name`) is not permitted", None);
        }
        if tagged {
            return self.refuse(at, "a tag (`!name`) is not permitted", None);
        }
        Some(())
    }

    fn descend(&mut self, open: Open, at: Place) -> Option<()> {
        if self.expects_key() {
            return self.refuse(at, "a key must be text", None);
        }
        if self.open.len() >= DEEPEST {
            return self.refuse(at, "nested deeper than 32 levels", None);
        }
        self.open.push(open);
        Some(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Table { key: None, .. }))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Place) -> Option<()> {
        if let Some(Open::Table { keys, key: key @ None, .. }) = self.open.last_mut() {
            if !keys.insert(text.to_owned()) {
                self.walk.duplicate(at, text);
            }
            *key = Some((text.to_owned(), at));
            return Some(());
        }
        let value =
            if matches!(style, ScalarStyle::Plain) { plain(text) } else { Value::Text(text.to_owned()) };
        self.add(Node { at, value })
    }

    fn add(&mut self, node: Node) -> Option<()> {
        match self.open.last_mut() {
            None => self.document = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Table { entries, key, .. }) => match key.take() {
                Some((key, at)) => entries.push(Entry { key, at, node }),
                None => return self.refuse(node.at, "a key must be text", None),
            },
        }
        Some(())
    }

    fn syntax(&self, error: &ScanError, text: &str) {
        let at = place(error.marker());
        // `deny: [*]` and `- *.example.com` are what people write first.
        let line = at.line.checked_sub(1).and_then(|above| text.lines().nth(above)).unwrap_or_default();
        let help = line.contains('*').then_some(QUOTE_STAR);
        let _: Option<()> = self.refuse(at, error.info(), help);
    }

    fn refuse<T>(&self, at: Place, message: &str, help: Option<&str>) -> Option<T> {
        self.walk.problem(at, "", message, help.map(str::to_owned));
        None
    }
}

const QUOTE_STAR: &str = "put patterns with `*` in quotes: \"*.example.com\"";

/// A plain word by the core schema; what schemas differ about is neither text nor number.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if is_disputed(text) => Value::Other(text.to_owned()),
        _ => match text.parse() {
            Ok(number) if !text.starts_with('+') => Value::Whole(number),
            _ => Value::Text(text.to_owned()),
        },
    }
}

fn is_disputed(text: &str) -> bool {
    let word = ["true", "false", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let octal_or_hex = unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && unsigned.bytes().skip(1).any(|byte| byte.is_ascii_digit());
    let number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && (text.parse::<f64>().is_ok() || unsigned.replace('_', "").parse::<f64>().is_ok());
    let whole = !text.starts_with('+') && text.parse::<i128>().is_ok();
    let special = [".inf", ".nan"].iter().any(|special| special.eq_ignore_ascii_case(unsigned));
    word || octal_or_hex || special || (number && !whole)
}
