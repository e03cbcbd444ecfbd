//! What a request asks to reach: a host and a port.
//!
//! Reads the authority of a CONNECT request (RFC 9110 §9.3.6, where the port is required) and of an absolute `http`
//! target. User information, schemes, paths and empty ports are refused, never skipped over.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::host::{Host, MalformedHost};

/// A host in canonical form, and a port from 1 to 65535.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    host: Host,
    port: NonZeroU16,
}

impl Destination {
    /// Puts the two parts together.
    #[must_use]
    pub fn new(host: Host, port: NonZeroU16) -> Self {
        Self { host, port }
    }

    /// Reads `host:port`. The port is required: decimal digits, 1 to 65535, no leading zero.
    ///
    /// # Errors
    /// [`MalformedDestination`] says which part is not in order.
    pub fn parse_authority(bytes: &[u8]) -> Result<Self, MalformedDestination> {
        let (host, port) = split(bytes)?;
        let port = parse_port(port.ok_or(MalformedDestination::PortMissing)?)?;
        Ok(Self { host: Host::parse_wire(host)?, port })
    }

    /// Reads `host` or `host:port`; a missing port is `default`, an empty one is refused.
    ///
    /// # Errors
    /// [`MalformedDestination`] says which part is not in order; a `default` of 0 counts as a missing port.
    pub fn parse_with_default_port(bytes: &[u8], default: u16) -> Result<Self, MalformedDestination> {
        let (host, port) = split(bytes)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => NonZeroU16::new(default).ok_or(MalformedDestination::PortMissing)?,
        };
        Ok(Self { host: Host::parse_wire(host)?, port })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.get()
    }
}

/// Why bytes are not a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedDestination {
    /// The host is not one.
    #[error(transparent)]
    Host(#[from] MalformedHost),
    /// No port where one is required.
    #[error("the port is missing")]
    PortMissing,
    /// Not a decimal number from 1 to 65535 in its one spelling.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// Splits at the colon before the port, if there is one. A colon inside brackets belongs to the address.
fn split(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), MalformedDestination> {
    let host_ends = match bytes {
        [b'[', ..] => bytes.iter().position(|byte| *byte == b']').map(|bracket| bracket + 1),
        _ => Some(bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len())),
    };
    let (host, rest) = host_ends.and_then(|end| bytes.split_at_checked(end)).ok_or(MalformedHost::Bracket)?;
    match rest {
        [] => Ok((host, None)),
        [b':', port @ ..] => Ok((host, Some(port))),
        _ => Err(MalformedHost::Bracket.into()),
    }
}

/// A port in its one spelling: digits only, no sign, no leading zero.
pub(crate) fn parse_port(digits: &[u8]) -> Result<NonZeroU16, MalformedDestination> {
    if digits.is_empty() || digits.len() > 5 || digits.starts_with(b"0") {
        return Err(MalformedDestination::Port);
    }
    let mut port = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(MalformedDestination::Port);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).ok().and_then(NonZeroU16::new).ok_or(MalformedDestination::Port)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Destination {
    type Err = MalformedDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_authority(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authority: &str, expected: Result<&str, MalformedDestination>) {
        let read = Destination::parse_authority(authority.as_bytes()).map(|found| found.to_string());
        assert_eq!(read, expected.map(str::to_owned), "{authority:?}");
    }

    #[test]
    fn an_authority_is_read_into_its_canonical_form() {
        for (authority, canonical) in [
            ("example.com:443", "example.com:443"),
            ("EXAMPLE.COM.:443", "example.com:443"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[2001:DB8::1]:65535", "[2001:db8::1]:65535"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ] {
            check(authority, Ok(canonical));
        }
    }

    #[test]
    fn a_port_has_one_spelling() {
        for port in
            ["", "0", "00", "0443", "+443", "-1", " 443", "443 ", "65536", "99999999999", "4a", "0x50", "٤٤٣"]
        {
            check(&format!("a.example:{port}"), Err(MalformedDestination::Port));
        }
        check("a.example", Err(MalformedDestination::PortMissing));
        check("[2001:db8::1]", Err(MalformedDestination::PortMissing));
    }

    #[test]
    fn what_is_not_host_and_port_is_refused() {
        for authority in [
            "",
            ":443",
            "u@a.example:443",
            "evil:443@a.example:443",
            "http://a.example:443",
            "/a.example:443",
            "*",
            "::1:443",
            "[::1]443",
            "[::1]:443:443",
            "[::1",
            "[a]:443",
            "[example.net.]:1337",
            "[::1%25eth0]:443",
            "a.example:443/",
            "a.example:443:443",
        ] {
            assert!(Destination::parse_authority(authority.as_bytes()).is_err(), "{authority:?}");
        }
    }

    #[test]
    fn a_missing_port_takes_the_default_and_an_empty_one_does_not() {
        let read =
            |text: &str| Destination::parse_with_default_port(text.as_bytes(), 80).map(|d| d.to_string());
        assert_eq!(read("a.example"), Ok("a.example:80".into()));
        assert_eq!(read("a.example:8080"), Ok("a.example:8080".into()));
        assert_eq!(read("[2001:db8::1]"), Ok("[2001:db8::1]:80".into()));
        assert_eq!(read("a.example:"), Err(MalformedDestination::Port));
        assert_eq!(
            Destination::parse_with_default_port(b"a.example", 0),
            Err(MalformedDestination::PortMissing)
        );
    }
}
