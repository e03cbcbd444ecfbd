//! The verifier that rustls calls in every handshake of the device port, and who it was afterwards.
//!
//! Relies on rustls to ask for a certificate, to check the peer's signature with the function given here, and to pass the time.
//! A new trust applies from the next call on, without a restart and without a new TLS configuration. It never lets a
//! connection through without a certificate.
//!
//! What a chain proves under one trust is remembered, time apart: a device that comes back costs the signature by which
//! it proves that it holds its key, and no others.
//!
//! The trust may change between the handshake and the session's entry into the registry: whoever registers a session asks
//! [`Trust::recheck`] once more afterwards.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::certificate::{VerifiedDevice, sha256};
use crate::document::Document;
use crate::path;
use crate::refusal::Refusal;
use crate::remembered::{Presented, Remembered};
use crate::signed::algorithms;
use crate::trust::{Trust, TrustFaults, TrustSettings, Update};

/// A certificate that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The check that failed.
    pub refusal: Refusal,
    /// The leaf's subject: escaped, capped, and not verified.
    pub subject: String,
    /// SHA-256 of the leaf.
    pub fingerprint: [u8; 32],
}

/// Is told of every certificate that is refused.
///
/// The call happens inside the handshake, on the thread and in the task that drives it, so a span or a task-local of that
/// connection is current. A peer that presents no certificate at all is reported by rustls alone; see [`Refusal::of`].
pub trait RefusalObserver: Send + Sync {
    /// Takes note. Must not block.
    fn refused(&self, refused: &Refused);
}

/// Verifies the certificates of devices.
pub struct DeviceVerifier {
    trust: ArcSwap<Trust>,
    /// Held while the next trust is made, so that no update is lost.
    updating: Mutex<()>,
    epoch: AtomicU64,
    remembered: Remembered,
    observer: Option<Arc<dyn RefusalObserver>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl DeviceVerifier {
    /// A verifier that begins with `trust`.
    #[must_use]
    pub fn new(trust: Trust, observer: Option<Arc<dyn RefusalObserver>>) -> Self {
        Self {
            trust: ArcSwap::from_pointee(trust),
            updating: Mutex::default(),
            epoch: AtomicU64::new(0),
            remembered: Remembered::default(),
            observer,
            algorithms: algorithms(),
        }
    }

    /// The trust in force.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.load_full()
    }

    /// Puts further CRLs in force; see [`Trust::with_crls`].
    pub fn add_crls(&self, documents: &[Document], now: i64) -> Update {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let update = self.trust.load().with_crls(documents, now);
        self.trust.store(Arc::clone(&update.trust));
        self.end_epoch();
        update
    }

    /// Puts newly read settings in force; see [`Trust::reload`].
    ///
    /// # Errors
    /// As [`Trust::reload`]; the trust in force stays.
    pub fn reload(&self, settings: &TrustSettings, now: i64) -> Result<Update, TrustFaults> {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let update = self.trust.load().reload(settings, now)?;
        self.trust.store(Arc::clone(&update.trust));
        self.end_epoch();
        Ok(update)
    }

    /// Which epoch it is: [`crate::Tickets`] of another one open nothing.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Ends the epoch. A change of trust does so by itself; a change of standing that the trust does not know of has to be
    /// followed by this, after it was published.
    pub fn end_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Whom these certificates prove, under the trust of this moment: leaf first, as the peer presented them.
    ///
    /// `now` is Unix seconds. To be asked after every handshake: rustls lets a resumed one pass without asking. Usually it
    /// is a look-up and a [`Trust::recheck`]. It does not prove that the peer holds the key: only a handshake does.
    ///
    /// # Errors
    /// The check that failed, which the observer is told too.
    pub fn identify(
        &self,
        presented: &[CertificateDer<'_>],
        now: i64,
    ) -> Result<Arc<VerifiedDevice>, Refusal> {
        let (leaf, others) = presented.split_first().ok_or(Refusal::NoCertificate)?;
        self.prove(leaf, others, now).inspect_err(|refusal| self.observe(*refusal, leaf))
    }

    /// The path that the certificates prove, remembered or verified.
    fn prove(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: i64,
    ) -> Result<Arc<VerifiedDevice>, Refusal> {
        let trust = self.trust.load();
        path::within_bounds(leaf, others)?;
        let presented = Presented::of(std::iter::once(leaf).chain(others));
        // One that does not hold any more says nothing of other paths that the same certificates may prove.
        if let Some(device) = self.remembered.find(&presented, trust.epoch(), now)
            && trust.recheck(&device, now).is_ok()
        {
            return Ok(device);
        }
        let device = Arc::new(path::verify(&trust, leaf, others, now)?);
        self.remembered.keep(presented, trust.epoch(), now, Arc::clone(&device));
        Ok(device)
    }

    fn observe(&self, refusal: Refusal, leaf: &CertificateDer<'_>) {
        if let Some(observer) = &self.observer {
            observer.refused(&Refused { refusal, subject: path::subject(leaf), fingerprint: sha256(leaf) });
        }
    }

    /// Reports a wrong signature of the handshake as what it is: the certificate may be good, the peer is not its holder.
    fn possession(
        &self,
        outcome: Result<HandshakeSignatureValid, Error>,
        leaf: &CertificateDer<'_>,
    ) -> Result<HandshakeSignatureValid, Error> {
        outcome.inspect_err(|_| self.observe(Refusal::PossessionUnproven, leaf))
    }
}

impl fmt::Debug for DeviceVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceVerifier").field("trust", &self.trust.load()).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: the names of our authorities are nobody's business before authentication, and they would outlive a reload.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match self.prove(leaf, others, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => {
                self.observe(refusal, leaf);
                Err(refusal.into_tls())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession(verify_tls12_signature(message, leaf, signature, &self.algorithms), leaf)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession(verify_tls13_signature(message, leaf, signature, &self.algorithms), leaf)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
