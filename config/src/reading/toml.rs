//! TOML 1.0, by the `toml` crate, which refuses duplicate keys itself and reports every syntax error it can find.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DEEPEST;
use super::tree::{Entry, Node, Place, Value};
use super::walk::Walk;

/// Reads a TOML document.
pub(super) fn read(text: &str, walk: &Walk<'_>) -> Option<Node> {
    let places = Places::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(Place::default(), |span| places.start(&span));
        walk.problem(at, "", error.message().lines().next().unwrap_or("not valid TOML"), None);
    }
    if !errors.is_empty() {
        return None;
    }
    let value = table_of(table.get_ref(), &places, walk, 0)?;
    Some(Node { at: Place::START, value })
}

fn table_of(table: &DeTable<'_>, places: &Places<'_>, walk: &Walk<'_>, depth: usize) -> Option<Value> {
    let mut entries = Vec::new();
    for (key, value) in table.iter() {
        let at = places.start(&key.span());
        entries.push(Entry {
            key: key.get_ref().to_string(),
            at,
            node: node(value, places, walk, depth + 1)?,
        });
    }
    Some(Value::Table(entries))
}

fn node(value: &Spanned<DeValue<'_>>, places: &Places<'_>, walk: &Walk<'_>, depth: usize) -> Option<Node> {
    let at = places.start(&value.span());
    if depth > DEEPEST {
        walk.problem(at, "", "nested deeper than 32 levels", None);
        return None;
    }
    let value = match value.get_ref() {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Boolean(boolean) => Value::Bool(*boolean),
        DeValue::Integer(number) => match number.as_str().parse() {
            Ok(whole) if number.radix() == 10 => Value::Whole(whole),
            _ => Value::Other(number.to_string()),
        },
        DeValue::Float(number) => Value::Other(number.as_str().to_owned()),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(item, places, walk, depth + 1)).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => table_of(table, places, walk, depth)?,
    };
    Some(Node { at, value })
}

/// Lines and columns by byte, without counting from the beginning each time.
struct Places<'t> {
    text: &'t str,
    /// The place of the first character in each stretch of the text, with its byte.
    marks: Vec<(usize, Place)>,
}

/// How many bytes are counted through at most to find a place.
const STRETCH: usize = 1024;

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        let mut marks = Vec::new();
        let mut at = Place::START;
        for (byte, character) in text.char_indices() {
            if byte / STRETCH >= marks.len() {
                marks.push((byte, at));
            }
            at = after(at, character);
        }
        Self { text, marks }
    }

    fn start(&self, span: &Range<usize>) -> Place {
        let mark = self.marks.partition_point(|(byte, _)| *byte <= span.start).checked_sub(1);
        let (byte, place) = mark.and_then(|mark| self.marks.get(mark)).copied().unwrap_or((0, Place::START));
        self.text.get(byte..span.start).unwrap_or_default().chars().fold(place, after)
    }
}

fn after(at: Place, character: char) -> Place {
    match character {
        '\n' => Place { line: at.line + 1, column: 1 },
        _ => Place { column: at.column + 1, ..at },
    }
}
