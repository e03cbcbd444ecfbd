//! The shared decision table, through the compiled rules.

use std::collections::HashSet;

use config::{DefaultPorts, DenyList, Destination, ManifestDraft, Match, Pattern, Reason, Rules, Source};
use serde_json::{Value, json};

/// What the table says: a reason for a denial, `None` for none, and the deciding pattern.
type Outcome = (Option<Reason>, Option<String>);

fn table() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/decisions.json");
    let text = std::fs::read_to_string(path).expect("the decision table is there");
    let table: Value = serde_json::from_str(&text).expect("the decision table is JSON");
    table.get("rows").and_then(Value::as_array).expect("it has rows").clone()
}

fn text<'r>(row: &'r Value, field: &str) -> Option<&'r str> {
    row.get(field).and_then(Value::as_str)
}

fn expected(row: &Value) -> Outcome {
    let reason = text(row, "reason").map(|reason| reason.parse().expect("a reason of the closed list"));
    assert_eq!(text(row, "decision"), Some(if reason.is_some() { "deny" } else { "allow" }), "{row}");
    (reason, text(row, "rule").map(str::to_owned))
}

fn decide(row: &Value) -> Outcome {
    let manifest = json!({
        "agent": "a",
        "identity": { "user": "u", "device": "d" },
        "capabilities": { "network": row.get("network") },
        "ttl_seconds": 1,
    });
    let draft =
        ManifestDraft::read(&Source::new("row.json", manifest.to_string())).expect("a valid manifest");
    let Ok(destination) = text(row, "destination").unwrap_or_default().parse::<Destination>() else {
        return (Some(Reason::MalformedDestination), None);
    };
    let forbidden =
        row.get("forbidden").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let forbidden: Vec<Pattern> =
        forbidden.map(|text| Pattern::parse(text, DefaultPorts::Every).expect("a pattern")).collect();
    if let Some(pattern) = DenyList::compile(&forbidden).matches(&destination) {
        return (Some(Reason::DestinationForbidden), Some(pattern.to_string()));
    }
    let rules = Rules::compile(&draft.network);
    match rules.matching(&destination) {
        Match::Allow(index) => (None, rules.allow_entry(index).map(|entry| entry.pattern.to_string())),
        Match::Deny(pattern) => (Some(Reason::DestinationDenied), Some(pattern.to_string())),
        Match::Tie => (Some(Reason::DestinationAmbiguous), None),
        Match::Unlisted => (Some(Reason::DestinationNotListed), None),
    }
}

#[test]
fn every_row_is_decided_as_the_table_says() {
    for row in table() {
        assert_eq!(decide(&row), expected(&row), "{:?}", text(&row, "name"));
    }
}

#[test]
fn the_table_has_enough_rows_and_each_its_own_name() {
    let rows = table();
    let names: HashSet<_> = rows.iter().map(|row| text(row, "name").expect("a name")).collect();
    assert!(rows.len() >= 60);
    assert_eq!(names.len(), rows.len());
}
