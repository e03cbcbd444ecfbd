//! The files of an authority: how they come to be, and that they belong together.
//!
//! Relies on the file system to rename atomically. It never writes over an authority, and writes the certificate last: a
//! directory without one is no authority yet.

use std::fs;
use std::path::{Path, PathBuf};

use config::files::{Reach, Readers, replace};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use super::fault::AuthorityFault;
use super::issued;
use crate::files;
use crate::identity::TrustDomain;

/// Writes a new authority's files; the certificate comes last, and with it the directory counts as one.
pub(super) fn found(
    dir: &Path,
    domain: &TrustDomain,
    certificate: &str,
    chain: &str,
    key: &KeyPair,
) -> Result<(), AuthorityFault> {
    fs::create_dir_all(dir).map_err(|fault| AuthorityFault::file(dir, fault))?;
    let lock = dir.join("lock");
    let _lock = files::lock(&lock).map_err(|fault| AuthorityFault::file(&lock, fault))?;
    if dir.join("ca.pem").exists() {
        return Err(AuthorityFault::Exists(dir.into()));
    }
    let domain = format!("{domain}\n");
    let key = key.serialize_pem();
    let parts = [
        ("trust-domain", domain.as_str(), Readers::Everybody),
        ("ca.key", key.as_str(), Readers::Owner),
        ("chain.pem", chain, Readers::Everybody),
        ("ca.pem", certificate, Readers::Everybody),
    ];
    for (name, text, privacy) in parts {
        let path = dir.join(name);
        replace(&path, text.as_bytes(), privacy, Reach::Disk)
            .map_err(|fault| AuthorityFault::file(&path, fault))?;
    }
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<String, AuthorityFault> {
    fs::read_to_string(path).map_err(|fault| AuthorityFault::file(path, fault))
}

pub(super) fn read_optional(path: &Path) -> Result<String, AuthorityFault> {
    if path.exists() { read(path) } else { Ok(String::new()) }
}

/// Checks that the key is the certificate's, and returns the certificate's end.
pub(super) fn check_key(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
    certificate_path: &Path,
    key_path: PathBuf,
) -> Result<i64, AuthorityFault> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| AuthorityFault::Malformed { path: certificate_path.into(), what: "no certificate" })?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(AuthorityFault::Malformed {
            path: key_path,
            what: "a key that is not the certificate's",
        });
    }
    Ok(parsed.validity().not_after.timestamp())
}

/// 127 random bits, never zero and never negative.
pub(super) fn random_serial() -> Result<Vec<u8>, AuthorityFault> {
    let mut serial = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| AuthorityFault::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(serial.to_vec())
}

pub(super) fn short_random() -> Result<String, AuthorityFault> {
    let mut bytes = [0_u8; 3];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityFault::Random)?;
    Ok(issued::hex(&bytes))
}
