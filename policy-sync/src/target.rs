//! What a revocation is aimed at.
//!
//! Exactly one thing per revocation. Targets compare by value, whatever spelling they were read from: a fingerprint with
//! colons and one without are the same certificate.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use config::{AgentName, DeviceId, ManifestId, UserName};

/// What loses its authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One manifest, for ever.
    Manifest(ManifestId),
    /// A device, with whatever certificate.
    Device(DeviceId),
    /// A user, on all devices.
    User(UserName),
    /// An agent, on all devices.
    Agent(AgentName),
    /// One certificate, for ever; one of an authority takes everything below it along.
    Certificate(CertificateTarget),
    /// Everybody.
    All,
}

/// How a revocation names a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateTarget {
    /// The SHA-256 of its DER form.
    Fingerprint([u8; 32]),
    /// What its issuer calls it.
    IssuerSerial {
        /// The issuer's name, DER.
        issuer: Arc<[u8]>,
        /// The serial number, big-endian without leading zeros.
        serial: Arc<[u8]>,
    },
}

impl Target {
    /// Whether such a revocation can be lifted again. A manifest or a certificate never comes back.
    #[must_use]
    pub const fn can_be_lifted(&self) -> bool {
        match self {
            Self::Device(_) | Self::User(_) | Self::Agent(_) | Self::All => true,
            Self::Manifest(_) | Self::Certificate(_) => false,
        }
    }

    /// The word for this kind of target.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest_id",
            Self::Device(_) => "device",
            Self::User(_) => "user",
            Self::Agent(_) => "agent",
            Self::Certificate(_) => "certificate",
            Self::All => "all",
        }
    }
}

/// `device:device-123`, `certificate:<hex>`, `certificate:<hex of issuer>/<hex of serial>`, `all`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(id) => write!(f, "manifest_id:{id}"),
            Self::Device(id) => write!(f, "device:{id}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Agent(name) => write!(f, "agent:{name}"),
            Self::Certificate(CertificateTarget::Fingerprint(digest)) => {
                write!(f, "certificate:{}", to_hex(digest))
            }
            Self::Certificate(CertificateTarget::IssuerSerial { issuer, serial }) => {
                write!(f, "certificate:{}/{}", to_hex(issuer), to_hex(serial))
            }
            Self::All => f.write_str("all"),
        }
    }
}

impl CertificateTarget {
    /// Reads a SHA-256 fingerprint: 64 hex digits of either case, with or without colons.
    #[must_use]
    pub fn parse_fingerprint(text: &str) -> Option<Self> {
        from_hex(text)?.try_into().ok().map(Self::Fingerprint)
    }

    /// Reads a serial number in hex, with or without colons, and the issuer's name in DER.
    #[must_use]
    pub fn parse_issuer_serial(issuer: &[u8], serial: &str) -> Option<Self> {
        let serial = from_hex(serial)?;
        let significant = serial.iter().position(|byte| *byte != 0).and_then(|start| serial.get(start..));
        let known = !issuer.is_empty() && issuer.len() <= 4096 && serial.len() <= 64;
        known
            .then(|| Self::IssuerSerial { issuer: issuer.into(), serial: significant.unwrap_or(&[0]).into() })
    }
}

/// Lower-case hex digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Pairs of hex digits; single colons may stand between them. `None` for anything else and for nothing.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let plain: String = if text.contains(':') {
        let pairs: Vec<_> = text.split(':').collect();
        if pairs.iter().any(|pair| pair.len() != 2) {
            return None;
        }
        pairs.concat()
    } else {
        text.to_owned()
    };
    let digits = plain.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| Some(hex_digit(*pair.first()?)? << 4 | hex_digit(*pair.last()?)?))
        .collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_in_the_spellings_people_paste_and_no_other() {
        for (text, expected) in [
            ("00ff", Some(vec![0, 255])),
            ("00:FF", Some(vec![0, 255])),
            ("", None),
            ("0", None),
            ("0:0f", None),
            ("00::ff", None),
            ("00ff:", None),
            ("0g", None),
            ("+1", None),
            ("é", None),
        ] {
            assert_eq!(from_hex(text), expected, "{text:?}");
        }
    }

    #[test]
    fn leading_zeros_of_a_serial_do_not_matter() {
        let read = |serial| CertificateTarget::parse_issuer_serial(b"issuer", serial);
        assert_eq!(read("00:0a"), read("0A"));
        assert_ne!(read("0a"), read("a0"));
        assert!(read("00").is_some());
        assert_eq!(read(""), None);
    }

    #[test]
    fn what_names_one_thing_for_ever_cannot_be_lifted() {
        let lifted = |target: Target| target.can_be_lifted();
        assert!(lifted(Target::All));
        assert!(lifted(Target::Device("d".parse().unwrap())));
        assert!(lifted(Target::User("u".parse().unwrap())));
        assert!(lifted(Target::Agent("a".parse().unwrap())));
        assert!(!lifted(Target::Manifest("m".parse().unwrap())));
        assert!(!lifted(Target::Certificate(CertificateTarget::Fingerprint([0; 32]))));
    }
}
