//! What everything on the bus is called.
//!
//! Streams and buckets have fixed names, and a gateway has subjects of its own, so that the servers' permissions can say
//! who may do what.

use bytes::Bytes;

use super::NatsFault;
use crate::transport::Frame;

/// The names under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Result<Self, NatsFault> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (1..=32).contains(&prefix.len()) && prefix.bytes().all(fits) {
            Ok(Self { prefix: prefix.to_owned() })
        } else {
            Err(NatsFault::Options("the prefix must be 1 to 32 letters, digits, _ or -".into()))
        }
    }

    /// The stream of the log.
    pub(super) fn log_stream(&self) -> String {
        format!("{}-log", self.prefix)
    }

    /// The one subject of that stream.
    pub(super) fn log_subject(&self) -> String {
        format!("{}.log", self.prefix)
    }

    /// A bucket of values.
    pub(super) fn bucket(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Where a frame is sent, and what.
    pub(super) fn live(&self, frame: Frame) -> (String, Bytes) {
        let (kind, envelope) = match frame {
            Frame::Hint(envelope) => ("hint", envelope),
            Frame::Record(envelope) => ("record", envelope),
            Frame::Heartbeat(envelope) => ("heartbeat", envelope),
        };
        (format!("{}.live.{kind}", self.prefix), envelope)
    }

    /// Where all frames are heard.
    pub(super) fn live_all(&self) -> String {
        format!("{}.live.*", self.prefix)
    }

    /// Where the records among them are heard.
    pub(super) fn live_records(&self) -> String {
        format!("{}.live.record", self.prefix)
    }

    /// The frame that came in under this subject.
    pub(super) fn frame(subject: &str, envelope: Bytes) -> Option<Frame> {
        match subject.rsplit('.').next() {
            Some("hint") => Some(Frame::Hint(envelope)),
            Some("record") => Some(Frame::Record(envelope)),
            Some("heartbeat") => Some(Frame::Heartbeat(envelope)),
            Some(_) | None => None,
        }
    }

    /// Where a gateway reports; `>` for all of them.
    pub(super) fn report(&self, gateway: &str) -> String {
        format!("{}.report.{gateway}", self.prefix)
    }

    /// Where a gateway asks for leases; `>` for all of them.
    pub(super) fn lease(&self, gateway: &str) -> String {
        format!("{}.lease.{gateway}", self.prefix)
    }

    /// Whose subject this is, among those of reports and leases.
    pub(super) fn gateway_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        rest.strip_prefix("report.").or_else(|| rest.strip_prefix("lease."))
    }

    /// The prefix of the inboxes that answers come to: one's own, so that nobody else may be allowed to listen.
    pub(super) fn inbox(&self, whose: &str) -> String {
        format!("{}.inbox.{whose}", self.prefix)
    }
}

/// Whether a gateway's name can be the end of a subject.
pub(super) fn is_subject(name: &str) -> bool {
    !name.is_empty() && name.split('.').all(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_prefix_are_what_the_permissions_say() {
        let names = Names::new("acme-1").unwrap();
        assert_eq!(names.log_stream(), "acme-1-log");
        assert_eq!(names.bucket("cells"), "acme-1-cells");
        assert_eq!(names.report("gw.eu-1"), "acme-1.report.gw.eu-1");
        assert_eq!(names.gateway_of("acme-1.report.gw.eu-1"), Some("gw.eu-1"));
        assert_eq!(names.gateway_of("acme-1.lease.gw-1"), Some("gw-1"));
        assert_eq!(names.gateway_of("acme-12.lease.gw-1"), None);
    }

    #[test]
    fn a_prefix_that_would_be_several_tokens_or_a_wildcard_is_refused() {
        for prefix in ["", "a.b", "*", ">", "a b", "ü", &"x".repeat(33)] {
            assert!(Names::new(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn a_frame_comes_back_from_its_subject() {
        let names = Names::new("p").unwrap();
        for frame in [Frame::Hint("h".into()), Frame::Record("r".into()), Frame::Heartbeat("b".into())] {
            let (subject, envelope) = names.live(frame.clone());
            assert_eq!(Names::frame(&subject, envelope), Some(frame));
        }
        assert_eq!(Names::frame("p.live.other", Bytes::new()), None);
    }

    #[test]
    fn a_name_with_an_empty_token_is_no_end_of_a_subject() {
        assert!(is_subject("gw.eu-1"));
        for name in ["", ".", "gw.", ".gw", "g..w"] {
            assert!(!is_subject(name), "{name}");
        }
    }
}
