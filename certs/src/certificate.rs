//! What is kept of a verified certificate: who issued it under which number, and its fingerprint.
//!
//! Relies on the certificate having been parsed by webpki. It keeps no key and no signature.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest;
use config::{AgentName, DeviceId};
use rustls_pki_types::CertificateDer;
use x509_parser::x509::X509Name;

/// The longest subject that is kept for logs, in characters.
const LONGEST_SUBJECT: usize = 200;

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref()); // SHA-256 has 32 bytes
    out
}

/// One certificate: by fingerprint, and by issuer and serial number, as a CRL names it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificateId {
    /// SHA-256 of the DER certificate.
    pub fingerprint: [u8; 32],
    /// The issuer's name: DER `Name`, with its `SEQUENCE` header.
    pub issuer: Arc<[u8]>,
    /// The serial number: big-endian, without leading zero bytes (zero is one zero byte).
    pub serial: Arc<[u8]>,
}

impl CertificateId {
    /// What names this certificate; `None` when it cannot be read. Whether it is good for anything is another question.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let serial = Serial::read(parsed.raw_serial())?;
        let (issuer, serial) = (parsed.issuer().as_raw().into(), serial.as_bytes().into());
        Some(Self { fingerprint: sha256(certificate), issuer, serial })
    }

    /// The fingerprint in lower-case hex.
    #[must_use]
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint)
    }

    /// The serial number in lower-case hex.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        hex(&self.serial)
    }

    /// The issuer's name as escaped text, as in [`VerifiedDevice::subject`].
    #[must_use]
    pub fn issuer_text(&self) -> String {
        name_text(&self.issuer)
    }
}

impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateId({} serial {})", self.issuer_text(), self.serial_hex())
    }
}

/// A device that proved who it is, and the path that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDevice {
    /// The device the leaf names.
    pub device: DeviceId,
    /// The agent the leaf is bound to, if any.
    pub agent: Option<AgentName>,
    /// The leaf.
    pub leaf: CertificateId,
    /// The verified path: leaf first, without the anchor. What else was presented is not in it.
    pub chain: Vec<CertificateId>,
    /// SHA-256 of the `SubjectPublicKeyInfo` that signed each entry of `chain`; the last one is the anchor's.
    pub issuer_keys: Vec<[u8; 32]>,
    /// The earliest end on the path, anchor included: Unix seconds, still valid within that second.
    pub not_after: i64,
    /// The leaf's subject for logs: escaped, at most 200 characters.
    pub subject: String,
}

/// A serial number in a fixed place, so that a million of them are one allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    length: u8,
    bytes: [u8; 20],
}

impl Serial {
    /// From the content of a DER `INTEGER`. `None` beyond the 20 bytes that RFC 5280 §4.1.2.2 allows, or when empty.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let zeros = content.iter().take_while(|byte| **byte == 0).count();
        let digits = content.get(zeros.min(content.len().checked_sub(1)?)..)?;
        let mut bytes = [0; 20];
        bytes.get_mut(..digits.len())?.copy_from_slice(digits);
        Some(Self { length: u8::try_from(digits.len()).ok()?, bytes })
    }

    /// Big-endian, without leading zero bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({})", hex(self.as_bytes()))
    }
}

/// A DER name as text for logs and messages: `CN=alice,O=Example`. Nothing in it can end a line or look like markup.
pub(crate) fn name_text(der: &[u8]) -> String {
    use x509_parser::prelude::FromDer;
    match X509Name::from_der(der) {
        Ok((_, name)) => escaped(&name),
        Err(_) => "(unreadable name)".into(),
    }
}

/// A parsed name as text, every attribute escaped, capped.
pub(crate) fn escaped(name: &X509Name<'_>) -> String {
    let mut out = String::new();
    for attribute in name.iter_attributes() {
        let separator = if out.is_empty() { "" } else { "," };
        let kind =
            x509_parser::objects::oid2abbrev(attribute.attr_type(), x509_parser::objects::oid_registry());
        let kind = kind.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
        out.push_str(separator);
        out.push_str(&kind);
        out.push('=');
        escape_into(&mut out, attribute.as_slice());
        if out.len() > LONGEST_SUBJECT {
            out.truncate(LONGEST_SUBJECT - 3);
            out.push_str("...");
            return out;
        }
    }
    if out.is_empty() { "(empty subject)".into() } else { out }
}

/// Letters, digits and a few marks stay; every other byte becomes `\xx`. The result is ASCII.
fn escape_into(out: &mut String, value: &[u8]) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || b" .-_@:/*()".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _infallible = write!(out, "\\{byte:02x}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_has_one_form() {
        let rows: &[(&[u8], Option<&[u8]>)] = &[
            (&[0], Some(&[0])),
            (&[0, 0x80], Some(&[0x80])),
            (&[1, 0], Some(&[1, 0])),
            (&[0, 0, 7], Some(&[7])),
            (&[0x7f; 20], Some(&[0x7f; 20])),
            (&[0x7f; 21], None),
            (&[], None),
        ];
        for (content, expected) in rows {
            let serial = Serial::read(content);
            assert_eq!(serial.as_ref().map(Serial::as_bytes), *expected, "{content:02x?}");
        }
    }

    #[test]
    fn a_subject_cannot_write_its_own_log_line() {
        let mut out = String::new();
        escape_into(&mut out, "a\n2026 ok \"x\"\u{202e}=,\\\0".as_bytes());
        assert_eq!(out, "a\\0a2026 ok \\22x\\22\\e2\\80\\ae\\3d\\2c\\5c\\00");
    }
}
