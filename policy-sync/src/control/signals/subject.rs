//! Whom is an event about, in our words?
//!
//! A subject is an identifier in one format (RFC 9493 §3.2), several names of one subject (`aliases`), or complex: members such
//! as `user` and `device`, each an identifier (SSF §3.2). A complex subject is the one that all its members name together; which
//! of them is withdrawn follows from the order in the settings, not from the order in the token. What is not exactly as a
//! mapping expects it names nobody: nothing is guessed.

use std::fmt;

use config::settings::{SignalSettings, SignalTarget, SubjectFormat, SubjectMapping};
use serde_json::{Map, Value};

use super::token::{SecurityEvent, Token, shown};
use crate::target::{CertificateTarget, Target};

/// The most names of one subject that are looked at.
const MOST_ALIASES: usize = 16;

/// Whom an event is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    issuer: &'a str,
    value: Option<&'a Value>,
}

/// As the token spells it, on one line, cut.
impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => f.write_str(&shown(&value.to_string())),
            None => f.write_str("no subject"),
        }
    }
}

impl<'a> Subject<'a> {
    /// The token's `sub_id`, or, as before the framework's final version, the event's own `subject`.
    pub(super) fn of(token: &'a Token, event: &'a SecurityEvent) -> Self {
        let value = token.subject.as_ref().or_else(|| event.fields.get("subject"));
        Self { issuer: &token.issuer, value }
    }

    /// The first of these kinds of target that it names.
    pub(super) fn target(&self, settings: &SignalSettings, wanted: &[SignalTarget]) -> Option<Target> {
        let mappings = |kind| settings.subjects.iter().filter(move |mapping| mapping.to == kind);
        wanted.iter().flat_map(|kind| mappings(*kind)).find_map(|mapping| self.mapped(mapping))
    }

    fn mapped(&self, mapping: &SubjectMapping) -> Option<Target> {
        let subject = self.value?.as_object()?;
        let identifier = match &mapping.member {
            Some(member) => subject.get(member)?.as_object()?,
            None => subject,
        };
        if format_of(identifier).as_deref() == Some("aliases") {
            let aliases = identifier.get("identifiers")?.as_array()?;
            return aliases
                .iter()
                .take(MOST_ALIASES)
                .filter_map(Value::as_object)
                .find_map(|alias| self.named(alias, mapping));
        }
        self.named(identifier, mapping)
    }

    fn named(&self, identifier: &Map<String, Value>, mapping: &SubjectMapping) -> Option<Target> {
        if format_of(identifier).as_deref() != Some(mapping.format.as_str()) {
            return None;
        }
        let text = |field: &str| identifier.get(field).and_then(Value::as_str);
        let name = match mapping.format {
            SubjectFormat::Account | SubjectFormat::Uri => text("uri"),
            SubjectFormat::Email => text("email"),
            // A `sub` means something only where it was given out.
            SubjectFormat::IssuerSubject => text("sub").filter(|_| text("iss") == Some(self.issuer)),
            SubjectFormat::Opaque => text("id"),
            SubjectFormat::PhoneNumber => text("phone_number"),
        };
        target(mapping.to, &respelled(name?, mapping)?)
    }
}

/// `format`; before RFC 9493 it was `subject_type`, with hyphens.
fn format_of(identifier: &Map<String, Value>) -> Option<String> {
    let format = identifier.get("format").or_else(|| identifier.get("subject_type"))?.as_str()?;
    Some(format.replace('-', "_"))
}

fn respelled(name: &str, mapping: &SubjectMapping) -> Option<String> {
    let name = if mapping.lowercase { name.to_ascii_lowercase() } else { name.to_owned() };
    let bare = name.strip_prefix(&mapping.strip_prefix)?.strip_suffix(&mapping.strip_suffix)?;
    Some(format!("{}{bare}{}", mapping.add_prefix, mapping.add_suffix))
}

fn target(kind: SignalTarget, name: &str) -> Option<Target> {
    match kind {
        SignalTarget::User => name.parse().ok().map(Target::User),
        SignalTarget::Device => name.parse().ok().map(Target::Device),
        SignalTarget::Agent => name.parse().ok().map(Target::Agent),
        SignalTarget::Manifest => name.parse().ok().map(Target::Manifest),
        SignalTarget::Certificate => CertificateTarget::parse_fingerprint(name).map(Target::Certificate),
    }
}
