//! TOML 1.0, by the `toml` crate, which refuses duplicate keys itself and reports every syntax error it can find.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DEEPEST;
use super::tree::{Entry, Node, Place, Value};
use super::walk::Walk;

/// Reads a TOML document.
pub(super) fn read(text: &str, walk: &Walk<'_>) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(Place::default(), |span| place(text, &span));
        walk.problem(at, "", error.message().lines().next().unwrap_or("not valid TOML"), None);
    }
    if !errors.is_empty() {
        return None;
    }
    let value = table_of(table.get_ref(), text, walk, 0)?;
    Some(Node { at: Place::START, value })
}

fn table_of(table: &DeTable<'_>, text: &str, walk: &Walk<'_>, depth: usize) -> Option<Value> {
    let mut entries = Vec::new();
    for (key, value) in table.iter() {
        let at = place(text, &key.span());
        entries.push(Entry { key: key.get_ref().to_string(), at, node: node(value, text, walk, depth + 1)? });
    }
    Some(Value::Table(entries))
}

fn node(value: &Spanned<DeValue<'_>>, text: &str, walk: &Walk<'_>, depth: usize) -> Option<Node> {
    let at = place(text, &value.span());
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
            Value::List(items.iter().map(|item| node(item, text, walk, depth + 1)).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => table_of(table, text, walk, depth)?,
    };
    Some(Node { at, value })
}

fn place(text: &str, span: &Range<usize>) -> Place {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    Place { line: before.matches('\n').count() + 1, column }
}
