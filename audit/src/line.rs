//! One event as one line of JSON.
//!
//! The order of the fields is fixed and is the order people read them in. Everything outside printable ASCII is
//! written as a `\u` escape, so a line contains no line break, no terminal sequence and no text-direction trick,
//! whatever a device put into a name. It never fails and never writes two lines for one event.

use std::io;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::ser::{Formatter, Serializer as JsonSerializer};
use uuid::Uuid;

use crate::event::Event;

/// What the recorder adds to an event.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// When it happened.
    pub at: Timestamp,
    /// Its own identifier.
    pub event_id: Uuid,
    /// Its number in this run of the process.
    pub sequence: u64,
    /// Who recorded it.
    pub gateway: &'a str,
}

/// Appends the event to `buffer` as one line, terminator included.
pub fn append(buffer: &mut Vec<u8>, event: &Event, stamp: Stamp<'_>) {
    let start = buffer.len();
    let mut serializer = JsonSerializer::with_formatter(&mut *buffer, AsciiOnly);
    if Record::new(event, stamp).serialize(&mut serializer).is_err() {
        // Writing into memory cannot fail and no field refuses to be serialised; half a line must not stay if it does.
        buffer.truncate(start);
        return;
    }
    buffer.push(b'\n');
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(serialize_with = "microseconds")]
    ts: Timestamp,
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability_manifest_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(serialize_with = "displayed")]
    event_id: Uuid,
    sequence: u64,
    gateway: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hexadecimal")]
    certificate_sha256: Option<&'a [u8; 32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    residency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_cut: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn new(event: &'a Event, stamp: Stamp<'a>) -> Self {
        Self {
            ts: stamp.at,
            event_type: event.event_type.as_str(),
            agent_id: event.agent_id.as_deref(),
            user: event.user.as_deref(),
            capability_manifest_id: event.manifest.as_deref(),
            decision: event.decision.map(|d| d.as_str()),
            event_id: stamp.event_id,
            sequence: stamp.sequence,
            gateway: stamp.gateway,
            session: event.session.as_deref(),
            destination: event.destination.as_deref(),
            address: event.address.as_deref(),
            rule: event.rule.as_deref(),
            reason: event.reason.map(|r| r.as_str()),
            policy_revision: event.policy_revision,
            upload_bytes: event.upload_bytes,
            download_bytes: event.download_bytes,
            duration_ms: event.duration_ms,
            certificate_sha256: event.certificate.as_ref(),
            residency: event.residency.as_deref(),
            anomaly: event.anomaly.map(|a| a.as_str()),
            target: event.target.as_deref(),
            sessions_cut: event.sessions_cut,
            lost: event.lost,
            actor: event.actor.as_deref(),
            log_sequence: event.log_sequence,
            detail: event.detail.as_deref(),
        }
    }
}

/// RFC 3339 in UTC with exactly six digits of a second.
fn microseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}

fn displayed<S: Serializer>(event_id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(event_id)
}

fn hexadecimal<S: Serializer>(bytes: &Option<&[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in bytes.iter().flat_map(|bytes| bytes.iter()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    serializer.serialize_str(&text)
}

/// Escapes what serde_json would write raw although it is not printable ASCII.
struct AsciiOnly;

impl Formatter for AsciiOnly {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !matches!(c, ' '..='~')) {
            let (plain, tail) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Decision, EventType};
    use config::Reason;
    use std::time::Duration;

    fn line(event: &Event) -> String {
        let mut buffer = Vec::new();
        let stamp = Stamp { at: Timestamp::UNIX_EPOCH, event_id: Uuid::nil(), sequence: 7, gateway: "gw-1" };
        append(&mut buffer, event, stamp);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn fields_come_in_their_fixed_order_and_absent_ones_are_left_out() {
        let event = Event::new(EventType::SessionEnded)
            .residency("eu")
            .certificate([0xab; 32])
            .duration(Duration::from_micros(1999))
            .bytes(10, 20)
            .revision(12)
            .reason(Reason::Completed)
            .rule("*.example.com:443")
            .address("192.0.2.1".parse().unwrap())
            .destination("api.example.com:443")
            .session("s-1")
            .decision(Decision::Terminated)
            .manifest(&"cm-987".parse().unwrap())
            .user(&"alice@example.com".parse().unwrap())
            .agent(Some(&"cowork-v1.0".parse().unwrap()), &"device-123".parse().unwrap());
        let expected = format!(
            concat!(
                r#"{{"ts":"1970-01-01T00:00:00.000000Z","event_type":"agent.session_ended","agent_id":"cowork-v1.0:device-123","#,
                r#""user":"alice@example.com","capability_manifest_id":"cm-987","decision":"terminated","#,
                r#""event_id":"00000000-0000-0000-0000-000000000000","sequence":7,"gateway":"gw-1","session":"s-1","#,
                r#""destination":"api.example.com:443","address":"192.0.2.1","rule":"*.example.com:443","reason":"completed","#,
                r#""policy_revision":12,"upload_bytes":10,"download_bytes":20,"duration_ms":1,"certificate_sha256":"{}","#,
                r#""residency":"eu"}}"#,
                "\n"
            ),
            "ab".repeat(32)
        );
        assert_eq!(line(&event), expected);
    }

    #[test]
    fn hostile_text_stays_on_one_printable_line_and_reads_back_unchanged() {
        for text in [
            "a\r\nb",
            "\u{1b}[31mred",
            "nul\0",
            "\u{202e}gpj.exe",
            "\u{2028}\u{2029}\u{2066}\u{feff}\u{200b}",
            "\u{7f}\u{85}\u{9b}",
            "quote\" back\\slash </script>",
            "grinning \u{1f600} tag \u{e0041}",
        ] {
            let line = line(&Event::new(EventType::SessionDenied).destination(text));
            assert_eq!(line.matches('\n').count(), 1, "{text:?}");
            assert!(line.trim_end_matches('\n').bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["destination"], text);
        }
    }
}
