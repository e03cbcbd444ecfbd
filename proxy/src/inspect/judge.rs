//! Whether a first flight is what the manifest expects of this destination.
//!
//! Pure: expectation, destination and what was seen in, verdict out. Never sees bytes.

use config::{Destination, Host, Reason, TlsExpectation};

use super::{ClientHello, Progress};

/// What to do with the bytes that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They may go upstream, and so may all that follow.
    Forward,
    /// They never go upstream; the session ends with this reason.
    Refuse(Reason),
    /// Hold them until more has come.
    NeedMore,
}

/// Judges what has been seen of a first flight.
///
/// With [`TlsExpectation::None`] anything passes, unseen. With [`TlsExpectation::Optional`] only bytes
/// from the device are held back: a server that speaks first must be relayed meanwhile.
#[must_use]
pub fn judge(expectation: TlsExpectation, destination: &Destination, progress: &Progress) -> Verdict {
    match (expectation, progress) {
        (TlsExpectation::None, _) => Verdict::Forward,
        (_, Progress::NeedMore) => Verdict::NeedMore,
        (_, Progress::Malformed(_)) => Verdict::Refuse(Reason::ClientHelloMalformed),
        (TlsExpectation::Sni, Progress::NotTls) => Verdict::Refuse(Reason::NotTls),
        (TlsExpectation::Optional, Progress::NotTls) => Verdict::Forward,
        (_, Progress::Tls(hello)) => judge_name(destination.host(), hello),
    }
}

/// RFC 6066 §3 knows no address in server_name, so for an address the extension has to be absent:
/// any name in it would be a name nobody granted.
fn judge_name(host: &Host, hello: &ClientHello) -> Verdict {
    match (host, &hello.sni) {
        (Host::Ip(_), None) => Verdict::Forward,
        (Host::Name(granted), Some(asked)) if granted == asked => Verdict::Forward,
        (Host::Name(_), None) => Verdict::Refuse(Reason::SniMissing),
        (Host::Name(_) | Host::Ip(_), Some(_)) => Verdict::Refuse(Reason::SniMismatch),
    }
}
