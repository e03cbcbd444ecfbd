//! Bytes with the name of where they came from, so that every fault can say which file it is about.
//!
//! Relies on nothing. It reads PEM and DER alike and never guesses beyond that.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::trust::TrustFault;

/// The largest file that is read: a CRL of a million entries has about 50 MB as PEM.
const LARGEST: u64 = 256 * 1024 * 1024;

/// A certificate file or a CRL file, PEM or DER.
#[derive(Clone)]
pub struct Document {
    /// Where it came from: a path as configured, or whatever the source calls it.
    pub origin: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({}, {} bytes)", self.origin, self.bytes.len())
    }
}

impl Document {
    /// A document from memory.
    #[must_use]
    pub fn new(origin: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { origin: origin.into(), bytes: bytes.into() }
    }

    /// Reads a file of at most 256 MiB.
    ///
    /// # Errors
    /// [`TrustFault::Unreadable`], naming the file.
    pub fn read(path: &Path) -> Result<Self, TrustFault> {
        let origin = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        match read {
            Err(fault) => Err(TrustFault::Unreadable { origin, why: fault.to_string() }),
            Ok(_) if bytes.len() as u64 > LARGEST => {
                Err(TrustFault::Unreadable { origin, why: "it is larger than 256 MiB".into() })
            }
            Ok(_) => Ok(Self { origin, bytes }),
        }
    }

    /// The certificates in it, at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TrustFault> {
        if self.is_der() {
            return Ok(vec![CertificateDer::from(self.bytes.clone())]);
        }
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        self.some(found, "certificate")
    }

    /// The CRLs in it, at least one.
    pub(crate) fn crls(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustFault> {
        if self.is_der() {
            return Ok(vec![CertificateRevocationListDer::from(self.bytes.clone())]);
        }
        let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&self.bytes).collect();
        self.some(found, "crl")
    }

    /// DER begins with a `SEQUENCE` of more than 127 bytes; no text does.
    fn is_der(&self) -> bool {
        matches!(self.bytes.as_slice(), [0x30, 0x81..=0x84, ..])
    }

    fn some<T, E: std::fmt::Debug>(
        &self,
        found: Result<Vec<T>, E>,
        what: &'static str,
    ) -> Result<Vec<T>, TrustFault> {
        match found {
            Err(fault) => Err(TrustFault::Unreadable {
                origin: self.origin.clone(),
                why: format!("bad pem: {fault:?}"),
            }),
            Ok(items) if items.is_empty() => Err(TrustFault::Empty { origin: self.origin.clone(), what }),
            Ok(items) => Ok(items),
        }
    }
}
