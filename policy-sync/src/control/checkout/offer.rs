//! What a file of a checkout offers to the log.
//!
//! Reads without verifying: the control plane verifies what it takes.

use bytes::Bytes;
use jiff::Timestamp;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;

use crate::assembly::CLOCK_SKEW;
use crate::envelope::{Envelope, PayloadType};
use crate::log::Entry;
use crate::signed::{SignedManifest, Statement};
use crate::source::intake::{Held, Kind};

/// One entry, and the manifest that the log then holds.
pub(super) struct Offer {
    pub(super) entry: Entry,
    pub(super) held: Option<Held>,
}

pub(super) enum Offered {
    Now(Vec<Offer>),
    /// Its time has to come.
    Later,
}

/// What the bytes of a file offer; or why nothing.
pub(super) fn of_file(kind: Kind, bytes: Vec<u8>) -> Result<Offered, String> {
    match kind {
        Kind::Manifest => manifest(bytes),
        Kind::Revocation => statement(bytes),
        Kind::Crl => crls(bytes),
    }
}

fn manifest(bytes: Vec<u8>) -> Result<Offered, String> {
    let read = Envelope::read(&bytes).map_err(|fault| fault.to_string())?;
    if read.payload_type() != PayloadType::Manifest {
        return Err("the envelope carries no manifest".into());
    }
    let signed = SignedManifest::read(read.unverified_payload(), Vec::new());
    let signed = signed.map_err(|fault| fault.to_string())?;
    if signed.issued_at > Timestamp::now().as_second().saturating_add(CLOCK_SKEW) {
        return Ok(Offered::Later);
    }
    let held = Held { id: signed.manifest.id, digest: signed.digest };
    Ok(Offered::Now(vec![Offer { entry: Entry::Manifest(bytes.into()), held: Some(held) }]))
}

fn statement(bytes: Vec<u8>) -> Result<Offered, String> {
    let read = Envelope::read(&bytes).map_err(|fault| fault.to_string())?;
    let said = Statement::read(read.unverified_payload()).map_err(|fault| fault.to_string())?;
    let envelope = Bytes::from(bytes);
    let entry = match said {
        Statement::Revoke(_) => Entry::Revocation(envelope),
        Statement::Lift(_) => Entry::Lift(envelope),
    };
    Ok(Offered::Now(vec![Offer { entry, held: None }]))
}

fn crls(bytes: Vec<u8>) -> Result<Offered, String> {
    let documents = if bytes.first() == Some(&0x30) {
        vec![Bytes::from(bytes)]
    } else {
        let read = CertificateRevocationListDer::pem_slice_iter(&bytes);
        let read = read.map(|crl| crl.map(|crl| Bytes::copy_from_slice(&crl)));
        read.collect::<Result<Vec<_>, _>>().map_err(|fault| fault.to_string())?
    };
    if documents.is_empty() {
        return Err("it holds no CRL".into());
    }
    let offers = documents.into_iter().map(|der| Offer { entry: Entry::Crl(der), held: None });
    Ok(Offered::Now(offers.collect()))
}
