//! The shared table of decisions: the same rows through a real socket, over HTTP/1 and HTTP/2, and through `explain`,
//! as through the compiled rules.

use std::collections::BTreeMap;

use lab::{DnsOrigin, Draft, Lab, Over};
use serde_json::{Value, json};

fn table() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/decisions.json");
    let text = std::fs::read_to_string(path).expect("the decision table is there");
    let table: Value = serde_json::from_str(&text).expect("the decision table is JSON");
    table["rows"].as_array().expect("it has rows").clone()
}

/// One gateway for all rows that share the gateway-wide list; each row is a device of its own.
async fn labs() -> Vec<(Lab, DnsOrigin, Vec<(String, Value)>)> {
    let mut groups: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (number, row) in table().into_iter().enumerate() {
        groups.entry(row["forbidden"].to_string()).or_default().push((format!("row-{number}"), row));
    }
    let mut labs = Vec::new();
    for rows in groups.into_values() {
        let dns = DnsOrigin::start().await;
        let forbidden = rows[0].1["forbidden"].as_array().cloned().unwrap_or_default();
        let forbidden: Vec<String> =
            forbidden.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        let mut builder = Lab::builder().settings(|settings| {
            settings.set("destinations.deny", forbidden);
            settings.set("dns.servers", vec![dns.address().to_string()]);
            settings.set("deadlines.dial", "500ms");
        });
        for (device, row) in &rows {
            let mut draft = Draft::of(device);
            draft.0["capabilities"]["network"] = row["network"].clone();
            builder = builder.manifest(draft);
        }
        labs.push((builder.start().await, dns, rows));
    }
    labs
}

/// Reasons of stages behind the decision: that far only what was allowed comes.
const LATER: [&str; 7] = [
    "dns_refused",
    "dns_failed",
    "dns_timeout",
    "address_prohibited",
    "connection_refused",
    "connection_timeout",
    "connection_failed",
];

#[tokio::test]
async fn every_row_is_decided_the_same_through_a_socket() {
    for (lab, _dns, rows) in labs().await {
        for (device, row) in rows {
            let destination = row["destination"].as_str().expect("a destination");
            for over in Over::BOTH {
                let outcome = lab.device(&device).connect_over(over, destination).await;
                let Ok(Err(refused)) = outcome else {
                    // Where a row leads that is allowed, somebody on this machine may listen. HTTP/2 may reset what it
                    // cannot carry.
                    let opened = matches!(outcome, Ok(Ok(_))) && row["decision"] == "allow";
                    let reset = over == Over::Http2 && row["reason"] == "malformed_destination";
                    assert!(opened || reset, "{row}: {outcome:?}");
                    continue;
                };
                let reason = refused.reason();
                match row["decision"].as_str() {
                    Some("allow") => assert!(LATER.contains(&reason.as_str()), "{over:?}: {row}: {reason}"),
                    _ => assert_eq!(json!(reason), row["reason"], "{over:?}: {row}"),
                }
                if row["decision"] == "deny" && row["rule"].is_string() {
                    assert_eq!(refused.json()["rule"], row["rule"], "{over:?}: {row}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_row_is_explained_as_it_is_decided() {
    for (lab, _dns, rows) in labs().await {
        for (device, row) in rows {
            let destination = row["destination"].as_str().expect("a destination");
            let arguments = [
                "explain",
                "--config",
                "gateway.toml",
                "--output",
                "json",
                "--device",
                &device,
                "--",
                destination,
            ];
            let output = lab.command(&arguments);
            if row["reason"] == "malformed_destination" {
                assert!(matches!(output.status.code(), Some(2 | 3)), "{row}: {output:?}");
                continue;
            }
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| {
                panic!("{fault} for {row}: {}", String::from_utf8_lossy(&output.stderr))
            });
            assert_eq!(said["decision"], row["decision"], "{row}: {said}");
            assert_eq!(said["reason"], row["reason"], "{row}: {said}");
            assert_eq!(said["rule"], row["rule"], "{row}: {said}");
            let code = if row["decision"] == "allow" { 0 } else { 3 };
            assert_eq!(output.status.code(), Some(code), "{row}");
        }
    }
}
