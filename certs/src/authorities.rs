//! The authorities that are known: anchors and intermediates from files, and intermediates met on verified paths.
//!
//! Relies on the files being the operator's. Which of them is an anchor is not a setting: a certificate whose issuer is in the
//! files too is an intermediate, and can be revoked; any other is an anchor. An intermediate that a device presents is remembered
//! only after a path to an anchor verified through it; it never becomes an anchor.

use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use crate::certificate::{escaped, sha256};
use crate::document::Document;
use crate::signed::Signed;
use crate::trust::TrustFault;

/// How many presented intermediates are remembered.
const MOST_MET: usize = 256;

/// The fewest bits of an RSA key.
const FEWEST_RSA_BITS: usize = 2048;

/// An authority's name with one of its keys: what signs certificates and CRLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthorityKey {
    /// DER `Name`, with header.
    pub(crate) subject: Arc<[u8]>,
    /// DER `SubjectPublicKeyInfo`.
    pub(crate) spki: Arc<[u8]>,
    /// SHA-256 of `spki`.
    pub(crate) key: [u8; 32],
    /// Whether its key usage allows signing CRLs.
    pub(crate) signs_crls: bool,
}

impl AuthorityKey {
    /// `None` when the certificate's key usage does not allow issuing, or cannot be read.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let usage = certificate.key_usage().ok()?;
        if usage.as_ref().is_some_and(|usage| !usage.value.key_cert_sign()) {
            return None;
        }
        let spki = certificate.public_key().raw;
        Some(Self {
            subject: certificate.subject().as_raw().into(),
            spki: spki.into(),
            key: sha256(spki),
            signs_crls: usage.is_none_or(|usage| usage.value.crl_sign()),
        })
    }
}

/// A trust anchor with the limits that a bare [`TrustAnchor`] forgets.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) key: AuthorityKey,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

/// All authorities of one configuration.
#[derive(Clone, Debug)]
pub(crate) struct Authorities {
    /// In the order of `roots`.
    pub(crate) anchors: Vec<Anchor>,
    /// The anchors as webpki takes them.
    pub(crate) roots: Vec<TrustAnchor<'static>>,
    /// Configured intermediates: offered for path building, as if every device presented them.
    pub(crate) intermediates: Vec<CertificateDer<'static>>,
    configured: Vec<AuthorityKey>,
    met: Arc<RwLock<Vec<AuthorityKey>>>,
}

impl Authorities {
    /// Reads every file; all faults at once.
    pub(crate) fn read(documents: &[Document]) -> Result<Self, Vec<TrustFault>> {
        let mut faults = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for document in documents {
            match candidates_of(document) {
                Ok(found) => candidates.extend(found),
                Err(fault) => faults.push(fault),
            }
        }
        let mut all = Self {
            anchors: Vec::new(),
            roots: Vec::new(),
            intermediates: Vec::new(),
            configured: candidates.iter().map(|candidate| candidate.key.clone()).collect(),
            met: Arc::default(),
        };
        for candidate in &candidates {
            all.place(candidate, &candidates);
        }
        if all.anchors.is_empty() && faults.is_empty() {
            faults.push(TrustFault::NoAnchor);
        }
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }

    /// The configured keys of all of them.
    pub(crate) fn into_keys(self) -> Vec<AuthorityKey> {
        self.configured
    }

    /// Keeps what `previous` met; it is proved again by whoever uses it.
    pub(crate) fn remembering(mut self, previous: &Self) -> Self {
        self.met = Arc::clone(&previous.met);
        self
    }

    /// The anchor of this name and key.
    pub(crate) fn anchor(&self, subject: &[u8], key: &[u8; 32]) -> Option<&Anchor> {
        self.anchors.iter().find(|anchor| anchor.key.key == *key && *anchor.key.subject == *subject)
    }

    /// The configured keys of the authority of this name.
    pub(crate) fn configured<'a>(&'a self, subject: &'a [u8]) -> impl Iterator<Item = &'a AuthorityKey> {
        self.configured.iter().filter(move |key| *key.subject == *subject)
    }

    /// Configured keys and keys met on verified paths, of the authority of this name.
    pub(crate) fn known(&self, subject: &[u8]) -> Vec<AuthorityKey> {
        let met = self.met.read().unwrap_or_else(PoisonError::into_inner);
        let met = met.iter().filter(|key| *key.subject == *subject);
        self.configured(subject).chain(met).cloned().collect()
    }

    /// Every name that has a configured key, once.
    pub(crate) fn names(&self) -> Vec<Arc<[u8]>> {
        let mut names: Vec<_> = self.configured.iter().map(|key| Arc::clone(&key.subject)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Remembers an intermediate of a path that verified up to an anchor.
    pub(crate) fn meet(&self, key: &AuthorityKey) {
        let known = |keys: &[AuthorityKey]| keys.iter().any(|known| known == key);
        if known(&self.configured) || known(&self.met.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut met = self.met.write().unwrap_or_else(PoisonError::into_inner);
        if met.len() < MOST_MET && !known(&met) {
            met.push(key.clone());
        }
    }

    fn place(&mut self, candidate: &Candidate, candidates: &[Candidate]) {
        if candidates.iter().any(|other| candidate.is_issued_by(other)) {
            self.intermediates.push(candidate.der.clone());
            return;
        }
        let known = self.anchor(&candidate.key.subject, &candidate.key.key).is_some();
        if !known && let Ok(root) = webpki::anchor_from_trusted_cert(&candidate.der) {
            self.roots.push(root.to_owned());
            self.anchors.push(Anchor {
                key: candidate.key.clone(),
                not_before: candidate.not_before,
                not_after: candidate.not_after,
            });
        }
    }
}

/// A certificate that may be an authority.
struct Candidate {
    der: CertificateDer<'static>,
    key: AuthorityKey,
    issuer: Arc<[u8]>,
    not_before: i64,
    not_after: i64,
}

impl Candidate {
    /// Whether `other`, under another name, signed it.
    fn is_issued_by(&self, other: &Self) -> bool {
        let names = *self.issuer == *other.key.subject && *self.issuer != *self.key.subject;
        names && Signed::read(&self.der).is_some_and(|signed| signed.is_by(&other.key.spki))
    }
}

fn candidates_of(document: &Document) -> Result<Vec<Candidate>, TrustFault> {
    document.certificates()?.into_iter().map(|der| candidate(document, der)).collect()
}

fn candidate(document: &Document, der: CertificateDer<'static>) -> Result<Candidate, TrustFault> {
    let origin = document.origin.clone();
    let refuse = |subject: String, why| Err(TrustFault::NoAuthority { origin: origin.clone(), subject, why });
    let parsed = x509_parser::parse_x509_certificate(&der).ok().filter(|(rest, _)| rest.is_empty());
    let Some((_, parsed)) = parsed else {
        return refuse("a certificate".into(), "it is no x.509 certificate");
    };
    let subject = escaped(parsed.subject());
    if parsed.version() != X509Version::V3 {
        return refuse(subject, "it is not of version 3");
    }
    if !parsed.is_ca() {
        return refuse(subject, "its basic constraints do not say so");
    }
    if is_weak(&parsed) {
        return refuse(subject, "its key is too weak");
    }
    let Some(key) = AuthorityKey::of(&parsed) else {
        return refuse(subject, "its key usage does not allow issuing");
    };
    if webpki::anchor_from_trusted_cert(&der).is_err() {
        return refuse(subject, "it cannot be parsed strictly");
    }
    let issuer = parsed.issuer().as_raw().into();
    let (not_before, not_after) =
        (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    Ok(Candidate { key, issuer, not_before, not_after, der })
}

/// An RSA key below 2048 bits, or a key of a kind that nobody here verifies with.
pub(crate) fn is_weak(certificate: &X509Certificate<'_>) -> bool {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => key.key_size() < FEWEST_RSA_BITS,
        Ok(PublicKey::EC(_)) | Ok(PublicKey::Unknown(_)) => false, // Ed25519 is unknown to the parser, not to TLS
        _ => true,
    }
}
