//! The canonical form of a host, and the only code that makes one.
//!
//! Policy, name look-up, SNI comparison, audit and budgets all use the value made here, so two spellings of one host
//! cannot be told apart by any of them, and two hosts can never share a spelling.
//!
//! Nothing is repaired: what is not a name by the rules of RFC 1035 and RFC 5890, or an address in its one plain
//! spelling, is refused. In particular nothing is percent-decoded, no zone is understood, and no number is ever taken
//! for an address unless it is a dotted quad. Relies on the `idna` crate for the tables of UTS #46.

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The longest name, in bytes, without the root dot (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;
/// The longest label, in bytes (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// A DNS name in canonical form: lower case, A-labels, no root dot, 1 to 253 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Reads a name as a peer spells it: ASCII only, any case, at most one root dot.
    ///
    /// # Errors
    /// [`MalformedHost`] for anything else, addresses included.
    pub fn parse_wire(bytes: &[u8]) -> Result<Self, MalformedHost> {
        match parse_unbracketed(bytes)? {
            Host::Name(name) => Ok(name),
            Host::Ip(_) => Err(MalformedHost::NotAName),
        }
    }

    /// Reads a name as a person writes it in a file: as on the wire, or with U-labels, which become A-labels here
    /// (UTS #46, non-transitional, STD3).
    ///
    /// # Errors
    /// [`MalformedHost`] for what has no canonical form, and for text that only becomes an address by mapping.
    pub fn parse_text(text: &str) -> Result<Self, MalformedHost> {
        if text.is_ascii() {
            return Self::parse_wire(text.as_bytes());
        }
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Ignore)
            .map_err(|_| MalformedHost::Unicode)?;
        Self::parse_wire(ascii.as_bytes())
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a label contains `_`: such a name is a service label, and only an exact pattern can allow it.
    #[must_use]
    pub fn has_underscore(&self) -> bool {
        self.0.as_bytes().contains(&b'_')
    }
}

/// Where a destination points: a name, or an address literal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(Name),
    /// An address. An IPv4 address written inside an IPv6 one (`::ffff:0:0/96`) is held as IPv4.
    Ip(IpAddr),
}

impl Host {
    /// Reads the host of an authority as a peer spells it: a name, a dotted quad, or an IPv6 literal in brackets.
    ///
    /// # Errors
    /// [`MalformedHost`] says which rule was broken.
    pub fn parse_wire(bytes: &[u8]) -> Result<Self, MalformedHost> {
        match bytes {
            [b'[', inside @ .., b']'] => parse_v6(inside),
            [b'[', ..] => Err(MalformedHost::Bracket),
            _ => parse_unbracketed(bytes),
        }
    }

    /// The name, when it is one.
    #[must_use]
    pub fn as_name(&self) -> Option<&Name> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }
}

/// Why bytes are not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHost {
    /// Nothing there, or only a dot.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the host is longer than 253 bytes")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// More than 63 bytes between dots.
    #[error("a label of the host is longer than 63 bytes")]
    LabelTooLong,
    /// A label begins or ends with `-`.
    #[error("a label of the host begins or ends with a hyphen")]
    Hyphen,
    /// A byte that no host name has.
    #[error("the host has a byte that no name has: 0x{0:02x}")]
    Byte(u8),
    /// The last label is a number, and the whole is not a dotted quad.
    #[error("the host is a number but not an address in dotted-quad form")]
    Number,
    /// An `xn--` label that stands for nothing, or for something with another spelling.
    #[error("the host has an xn-- label that is not valid")]
    ALabel,
    /// Text outside ASCII that IDNA does not permit.
    #[error("the host is not a valid internationalised name")]
    Unicode,
    /// Brackets around something else than an IPv6 address, or only one bracket.
    #[error("brackets hold exactly one IPv6 address without zone")]
    Bracket,
    /// An address where only a name will do.
    #[error("an address stands where a name is expected")]
    NotAName,
}

fn parse_v6(inside: &[u8]) -> Result<Host, MalformedHost> {
    let text = std::str::from_utf8(inside).map_err(|_| MalformedHost::Bracket)?;
    let address: Ipv6Addr = text.parse().map_err(|_| MalformedHost::Bracket)?;
    Ok(Host::Ip(address.to_canonical()))
}

fn parse_unbracketed(bytes: &[u8]) -> Result<Host, MalformedHost> {
    let (spelled, rooted) = match bytes {
        [] | b"." => return Err(MalformedHost::Empty),
        [name @ .., b'.'] => (name, true),
        name => (name, false),
    };
    let mut lower = [0_u8; LONGEST_NAME];
    let lower = lower.get_mut(..spelled.len()).ok_or(MalformedHost::TooLong)?;
    lower.copy_from_slice(spelled);
    lower.make_ascii_lowercase();

    let mut last: &[u8] = &[];
    for label in lower.split(|byte| *byte == b'.') {
        check_label(label)?;
        last = label;
    }
    let name = std::str::from_utf8(lower).map_err(|_| MalformedHost::Empty)?;
    if is_number(last) {
        // A dotted quad with a root dot is two things to two resolvers: refuse it.
        let quad: Ipv4Addr = name.parse().map_err(|_| MalformedHost::Number)?;
        return if rooted { Err(MalformedHost::Number) } else { Ok(Host::Ip(IpAddr::V4(quad))) };
    }
    Ok(Host::Name(Name(Arc::from(name))))
}

fn check_label(label: &[u8]) -> Result<(), MalformedHost> {
    if label.is_empty() {
        return Err(MalformedHost::EmptyLabel);
    }
    if label.len() > LONGEST_LABEL {
        return Err(MalformedHost::LabelTooLong);
    }
    if let Some(byte) = label.iter().find(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')) {
        return Err(MalformedHost::Byte(*byte));
    }
    if label.starts_with(b"-") || label.ends_with(b"-") {
        return Err(MalformedHost::Hyphen);
    }
    if label.starts_with(b"xn--") && !is_a_label(label) {
        return Err(MalformedHost::ALabel);
    }
    Ok(())
}

/// Whether IDNA gives this very label back. What decodes to nothing, to plain ASCII, or to something with another
/// canonical spelling would be one host here and another one elsewhere.
fn is_a_label(label: &[u8]) -> bool {
    Uts46::new()
        .to_ascii(label, AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .is_ok_and(|again| again.as_bytes() == label)
}

/// What `getaddrinfo` or a URL parser might take for (a part of) an address: `127`, `0177`, `0x7f`.
fn is_number(last_label: &[u8]) -> bool {
    last_label.starts_with(b"0x") || last_label.iter().all(u8::is_ascii_digit)
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
