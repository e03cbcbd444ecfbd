//! A freshly issued certificate with its key, and how it reaches the disk.

use std::fmt;
use std::path::Path;

use config::files::{Reach, Readers, replace};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::fault::AuthorityFault;
use crate::certificate::sha256;

/// A certificate, what its holder presents after it, and its key.
pub struct Issued {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) certificate_pem: String,
    /// The intermediates, nearest first, without the root. May be empty.
    pub(super) intermediates_pem: String,
    pub(super) key_pem: Option<String>,
    pub(super) serial: Vec<u8>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("serial", &hex(&self.serial)).finish_non_exhaustive()
    }
}

impl Issued {
    /// The certificate alone, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What the holder presents: the certificate, then the intermediates; PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.intermediates_pem)
    }

    /// What the holder presents, ready for rustls.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let intermediates = CertificateDer::pem_slice_iter(self.intermediates_pem.as_bytes());
        std::iter::once(self.certificate.clone()).chain(intermediates.filter_map(Result::ok)).collect()
    }

    /// The private key, PKCS #8 PEM; nothing when only a public key was certified.
    #[must_use]
    pub fn key_pem(&self) -> Option<&str> {
        self.key_pem.as_deref()
    }

    /// The private key, ready for rustls.
    #[must_use]
    pub fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_deref()?.as_bytes()).ok()
    }

    /// Serial number: big-endian, without leading zero bytes.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        trimmed(&self.serial)
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// Writes the chain (0644) and the key (0600), each whole or not at all, the key first.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, chain_path: &Path, key_path: &Path) -> Result<(), AuthorityFault> {
        if let Some(key) = &self.key_pem {
            replace(key_path, key.as_bytes(), Readers::Owner, Reach::Disk)
                .map_err(|fault| AuthorityFault::file(key_path, fault))?;
        }
        replace(chain_path, self.chain_pem().as_bytes(), Readers::Everybody, Reach::Disk)
            .map_err(|fault| AuthorityFault::file(chain_path, fault))
    }
}

/// The serial number of `pem` in hex, when `authority` is its issuer by name.
pub(super) fn serial_under(pem: &str, authority: &CertificateDer<'_>) -> Result<String, AuthorityFault> {
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| AuthorityFault::NotIssued)?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&certificate).map_err(|_| AuthorityFault::NotIssued)?;
    let (_, issuer) =
        x509_parser::parse_x509_certificate(authority).map_err(|_| AuthorityFault::NotIssued)?;
    if parsed.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(AuthorityFault::NotIssued);
    }
    Ok(hex(trimmed(parsed.raw_serial())))
}

/// A serial number without leading zero bytes; zero itself keeps one.
pub(super) fn trimmed(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros.min(serial.len().saturating_sub(1))..).unwrap_or(serial)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
