//! `portcullis manifest diff`: what changes with the new manifest?
//!
//! Compared is the canonical form, so spelling, order and comments make no difference. Lists are compared as sets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::document::Document;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::{Printer, Table, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The manifest as it was, signed or not.
    old: PathBuf,
    /// The manifest as it would be.
    new: PathBuf,
}

/// One field that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let read = |path| -> Result<Value, _> { Document::read(&settings::open(path)?)?.to_value() };
    let differences = compare(&read(&arguments.old)?, &read(&arguments.new)?);
    printer.data(&differences, |differences| {
        let mut table = Table::new(["", "FIELD", "OLD", "NEW"]).or_say("no difference");
        for Difference { field, old, new } in differences {
            let sign = match (old, new) {
                (None, _) => "+",
                (_, None) => "-",
                _ => "~",
            };
            table.row([&sign, field, &old.as_deref().unwrap_or(""), &new.as_deref().unwrap_or("")]);
        }
        table
    })?;
    Ok(Exit::Done)
}

fn compare(old: &Value, new: &Value) -> Vec<Difference> {
    let (old, new) = (leaves(old), leaves(new));
    let mut fields: Vec<&String> = old.keys().chain(new.keys()).collect();
    fields.sort();
    fields.dedup();
    let differing = fields.into_iter().filter(|field| old.get(*field) != new.get(*field));
    differing
        .map(|field| Difference {
            field: field.clone(),
            old: old.get(field).cloned(),
            new: new.get(field).cloned(),
        })
        .collect()
}

/// Every leaf by its path. An element of a list has its text, or its `host`, in the path instead of its position.
fn leaves(value: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "issued_at") {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(value, below, found);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                let name = element.get("host").unwrap_or(element);
                let below = format!("{path}[{}]", text(name));
                match element {
                    Value::Object(fields) => {
                        found.insert(below.clone(), text(name));
                        for (field, value) in fields.iter().filter(|(field, _)| *field != "host") {
                            collect(value, format!("{below}.{field}"), found);
                        }
                    }
                    leaf => drop(found.insert(below, text(leaf))),
                }
            }
        }
        leaf => drop(found.insert(path, text(leaf))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn difference(field: &str, old: Option<&str>, new: Option<&str>) -> Difference {
        Difference { field: field.into(), old: old.map(Into::into), new: new.map(Into::into) }
    }

    #[test]
    fn lists_are_compared_as_sets() {
        assert_eq!(compare(&json!({"allow": ["a", "b"]}), &json!({"allow": ["b", "a"]})), []);
        let found = compare(&json!({"allow": ["a", "b"]}), &json!({"allow": ["b", "c"]}));
        assert_eq!(found, [difference("allow[a]", Some("a"), None), difference("allow[c]", None, Some("c"))]);
    }

    #[test]
    fn a_limit_that_is_added_to_an_entry_is_all_that_differs() {
        let found = compare(&json!({"allow": ["a"]}), &json!({"allow": [{"host": "a", "upload_bytes": 5}]}));
        assert_eq!(found, [difference("allow[a].upload_bytes", None, Some("5"))]);
    }

    #[test]
    fn the_moment_of_signing_is_no_difference() {
        let found = compare(
            &json!({"ttl_seconds": 1}),
            &json!({"ttl_seconds": 2, "issued_at": "2026-01-01T00:00:00Z"}),
        );
        assert_eq!(found, [difference("ttl_seconds", Some("1"), Some("2"))]);
    }
}
