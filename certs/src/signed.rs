//! The envelope that certificates and CRLs share: what is signed, by which algorithm, and the signature (RFC 5280 §4.1, §5.1).
//!
//! Relies on the caller having the signer's key. A signature counts only under an algorithm that TLS here accepts too:
//! no SHA-1, no RSA below 2048 bits.

use std::sync::LazyLock;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::RawPublicKeyEntity;

use crate::der::{self, Reader};

/// A signed document, taken apart but not yet believed.
pub(crate) struct Signed<'a> {
    /// The signed part, header included.
    pub(crate) body: &'a [u8],
    /// The algorithm: content of the outer `AlgorithmIdentifier`.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// The algorithms that count, for paths, CRLs and handshakes alike.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
        LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms);
    *ALGORITHMS
}

impl<'a> Signed<'a> {
    /// Takes a certificate or a CRL apart; `None` when it is neither or something follows it.
    pub(crate) fn read(document: &'a [u8]) -> Option<Self> {
        let mut outer = Reader::new(document);
        let mut parts = Reader::new(outer.expect(der::SEQUENCE)?.content);
        let body = parts.expect(der::SEQUENCE)?.raw;
        let algorithm = parts.expect(der::SEQUENCE)?.content;
        let (unused, signature) = parts.expect(der::BIT_STRING)?.content.split_first()?;
        (outer.at_end() && parts.at_end() && *unused == 0).then_some(Self { body, algorithm, signature })
    }

    /// Whether `key`, a DER `SubjectPublicKeyInfo`, signed this.
    pub(crate) fn is_by(&self, key: &[u8]) -> bool {
        let key = SubjectPublicKeyInfoDer::from(key);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        let mut same = algorithms().all.iter().filter(|known| *known.signature_alg_id() == *self.algorithm);
        same.any(|known| key.verify_signature(*known, self.body, self.signature).is_ok())
    }
}
