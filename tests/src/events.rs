//! The gateway's event file, as parsed lines.

use std::path::Path;

use serde_json::Value;

/// The events written so far.
#[derive(Debug, Clone, Default)]
pub struct Events(pub Vec<Value>);

impl Events {
    /// Reads a file; a line that is not yet whole is left out, a whole line that is no JSON object is a failure.
    ///
    /// # Panics
    /// When a whole line is not a JSON object.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"));
            assert!(event.is_object(), "an event is an object: {line}");
            event
        };
        Self(whole.lines().map(parse).collect())
    }

    /// The events of one type, in order.
    pub fn of(&self, event_type: &str) -> Vec<&Value> {
        self.0.iter().filter(|event| event["event_type"] == event_type).collect()
    }

    /// The events of one session, in order.
    pub fn of_session(&self, session: &str) -> Vec<&Value> {
        self.0.iter().filter(|event| event["session"] == session).collect()
    }

    /// The endings for this reason.
    pub fn endings(&self, reason: &str) -> Vec<&Value> {
        self.of("agent.session_ended").into_iter().filter(|event| event["reason"] == reason).collect()
    }

    /// The denials for this reason.
    pub fn denials(&self, reason: &str) -> Vec<&Value> {
        self.of("agent.session_denied").into_iter().filter(|event| event["reason"] == reason).collect()
    }
}
