//! The verifier that rustls calls in every handshake of the device port, and who it was afterwards.
//!
//! Relies on rustls to ask for a certificate, to check the peer's signature with the function given here, and to pass the time.
//! A new trust applies from the next call on, without a restart and without a new TLS configuration. It never lets a
//! connection through without a certificate.
//!
//! The trust may change between the handshake and the session's entry into the registry: whoever registers a session asks
//! [`Trust::recheck`] once more afterwards.

use std::fmt;
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
        Ok(update)
    }

    /// Whom these certificates prove, under the trust of this moment: leaf first, as the peer presented them.
    ///
    /// `now` is Unix seconds. After a handshake this is a look-up and a [`Trust::recheck`]. It does not prove that the
    /// peer holds the key: only a completed handshake does.
    ///
    /// # Errors
    /// The check that failed, which the observer is told too.
    pub fn identify(&self, presented: &[CertificateDer<'_>], now: i64) -> Result<VerifiedDevice, Refusal> {
        let (leaf, others) = presented.split_first().ok_or(Refusal::NoCertificate)?;
        let trust = self.trust.load();
        let device = match self.remembered.find(&Presented::of(presented.iter())) {
            Some(device) => trust.recheck(&device, now).map(|()| VerifiedDevice::clone(&device)),
            None => path::verify(&trust, leaf, others, now),
        };
        device.inspect_err(|refusal| self.observe(*refusal, leaf))
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
        match path::verify(&self.trust.load(), leaf, others, now) {
            Ok(device) => {
                self.remembered.keep(Presented::of(std::iter::once(leaf).chain(others)), device);
                Ok(ClientCertVerified::assertion())
            }
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
