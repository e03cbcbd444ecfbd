//! What the first bytes of a tunnel are: a TLS ClientHello and whom it names, or something else.
//!
//! A tunnel is granted to a name. The bytes inside it could still ask a shared front end for another
//! name, so nothing goes upstream before the first flight has been read here and judged. Relies on
//! `config` for the canonical form of names. Never decrypts, never waits, never keeps the bytes it is
//! shown: the session holds them and forwards them after the verdict.
//!
//! What this cannot see: the name inside an encrypted ClientHello (its outer name is judged, which is
//! enough unless the destination *is* the front end's public name), the `Host` inside the encryption,
//! a second ClientHello after a HelloRetryRequest, and TLS begun later inside another protocol.

mod hello;
mod judge;
mod record;
#[cfg(test)]
mod tests;

use config::Name;

pub use hello::Malformed;
pub use judge::{Verdict, judge};

use record::{Framed, Handshake};

/// The most bytes of a first flight that are looked at, record headers included.
pub const MAX_FLIGHT_BYTES: usize = 16 * 1024;

/// What a first flight has turned out to be so far. Anything but `NeedMore` is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is certain yet.
    NeedMore,
    /// A complete, well-formed ClientHello.
    Tls(ClientHello),
    /// No TLS server would take these bytes for the start of a handshake.
    NotTls,
    /// Begins like TLS, and is not a ClientHello that every server would read the same way.
    Malformed(Malformed),
}

/// What a ClientHello says about where it wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The one `host_name` of the server_name extension, in canonical form.
    pub sni: Option<Name>,
    /// An encrypted ClientHello extension is there; real and GREASE look the same.
    pub ech: bool,
}

/// Reads a first flight piece by piece; each byte is looked at once.
#[derive(Debug)]
pub struct FirstFlight {
    seen: usize,
    opening: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not yet sure that this is TLS: at most `OPENING_BYTES` are kept.
    Opening,
    Reading(Handshake),
    Settled(Progress),
}

/// How many bytes tell TLS (or an SSLv2 hello) from anything else, at the latest.
const OPENING_BYTES: usize = 5;

impl Default for FirstFlight {
    fn default() -> Self {
        Self::new()
    }
}

impl FirstFlight {
    /// A flight of which nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self { seen: 0, opening: Vec::with_capacity(OPENING_BYTES), state: State::Opening }
    }

    /// Looks at the bytes that came next. Once the answer is final, further bytes do not change it.
    pub fn feed(&mut self, bytes: &[u8]) -> Progress {
        if let State::Opening = self.state { self.open(bytes) } else { self.read(bytes) }
    }

    /// The stream ended here: what was not certain is now settled.
    pub fn finish(&mut self) -> Progress {
        match &self.state {
            State::Settled(progress) => progress.clone(),
            State::Opening if self.opening.is_empty() => self.settle(Progress::NotTls),
            State::Opening | State::Reading(_) => self.settle(Progress::Malformed(Malformed::Truncated)),
        }
    }

    fn open(&mut self, bytes: &[u8]) -> Progress {
        let taken = bytes.len().min(OPENING_BYTES.saturating_sub(self.opening.len()));
        let (now, later) = bytes.split_at(taken);
        self.opening.extend_from_slice(now);
        match opening(&self.opening) {
            Opening::Undecided => Progress::NeedMore,
            Opening::NotTls => self.settle(Progress::NotTls),
            Opening::Malformed(fault) => self.settle(Progress::Malformed(fault)),
            Opening::Handshake => {
                self.state = State::Reading(Handshake::default());
                let held = std::mem::take(&mut self.opening);
                match self.read(&held) {
                    Progress::NeedMore => self.read(later),
                    settled => settled,
                }
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Progress {
        let handshake = match &mut self.state {
            State::Reading(handshake) => handshake,
            State::Settled(progress) => return progress.clone(),
            State::Opening => return Progress::NeedMore,
        };
        let allowed = bytes.len().min(MAX_FLIGHT_BYTES.saturating_sub(self.seen));
        self.seen = self.seen.saturating_add(allowed);
        let outcome = handshake.feed(bytes.get(..allowed).unwrap_or_default());
        match outcome {
            Err(fault) => self.settle(Progress::Malformed(fault)),
            Ok(Framed::Complete(message)) => {
                let read = hello::read(&message).map_or_else(Progress::Malformed, Progress::Tls);
                self.settle(read)
            }
            Ok(Framed::NeedMore) if self.seen >= MAX_FLIGHT_BYTES => {
                self.settle(Progress::Malformed(Malformed::TooLong))
            }
            Ok(Framed::NeedMore) => Progress::NeedMore,
        }
    }

    fn settle(&mut self, progress: Progress) -> Progress {
        self.state = State::Settled(progress.clone());
        progress
    }
}

enum Opening {
    Undecided,
    Handshake,
    NotTls,
    Malformed(Malformed),
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const HEARTBEAT: u8 = 24;
const SSL2_CLIENT_HELLO: u8 = 1;

/// Decides on as few bytes as possible: a protocol whose client sends one short line and waits for
/// the answer must not be held up.
///
/// Two starts are malformed rather than "not TLS", because some servers go on to a handshake from
/// them: another TLS record type in front, and the SSLv2 form of a ClientHello, which has no name.
fn opening(bytes: &[u8]) -> Opening {
    match *bytes {
        [] => Opening::Undecided,
        [CHANGE_CIPHER_SPEC..=HEARTBEAT] => Opening::Undecided,
        [HANDSHAKE, 3, ..] => Opening::Handshake,
        [CHANGE_CIPHER_SPEC..=HEARTBEAT, 3, ..] => Opening::Malformed(Malformed::OtherRecord),
        [0x80..=0xff, _, SSL2_CLIENT_HELLO, 0 | 3, _, ..] => Opening::Malformed(Malformed::Ssl2),
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, SSL2_CLIENT_HELLO] => Opening::Undecided,
        [0x80..=0xff, _, SSL2_CLIENT_HELLO, 0 | 3] => Opening::Undecided,
        _ => Opening::NotTls,
    }
}
