//! What is the gateway doing? Its events as they are written, one short line each.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Printer;

const POLL: Duration = Duration::from_millis(100);

/// Prints what is appended to the file of events, from a thread of its own, until the process ends.
pub(super) fn follow(path: PathBuf, printer: Printer) {
    let followed = std::thread::Builder::new().name("events".into()).spawn(move || {
        let Ok(file) = File::open(path) else { return };
        let mut lines = BufReader::new(file);
        let mut line = String::new();
        loop {
            match lines.read_line(&mut line) {
                Ok(0) => std::thread::sleep(POLL),
                Ok(_) if !line.ends_with('\n') => {}
                Ok(_) => {
                    if let Some(short) = serde_json::from_str(&line).ok().and_then(|event| short(&event)) {
                        // Nobody may be looking any more; the demo goes on.
                        let _unseen = printer.line(format_args!("  {short}"));
                    }
                    line.clear();
                }
                Err(_) => return,
            }
        }
    });
    if let Err(fault) = followed {
        tracing::warn!(%fault, "events are written but not shown");
    }
}

/// An event in a few words; none for what is of no interest here.
fn short(event: &Value) -> Option<String> {
    let kind = event.get("event_type")?.as_str()?;
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let mut short = format!("{kind:<24}");
    for name in ["decision", "destination", "reason", "capability_manifest_id"] {
        if let Some(value) = text(name) {
            short.push_str(&format!(" {value}"));
        }
    }
    if let (Some(up), Some(down)) = (event.get("upload_bytes"), event.get("download_bytes")) {
        short.push_str(&format!(" ({up} bytes up, {down} down)"));
    }
    let matters = kind.starts_with("agent.") || kind == "control.revoked";
    matters.then(|| short.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_becomes_a_line() {
        let event = json!({"event_type": "agent.session_ended", "decision": "terminated", "destination": "a:443",
            "reason": "manifest_revoked", "upload_bytes": 5, "download_bytes": 7});
        let expected = "agent.session_ended      terminated a:443 manifest_revoked (5 bytes up, 7 down)";
        assert_eq!(short(&event).as_deref(), Some(expected));
        assert_eq!(short(&json!({"event_type": "system.started"})), None);
    }
}
