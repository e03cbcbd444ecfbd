//! The verifier of a control plane's listener for gateways: which gateway do these certificates prove?
//!
//! Relies on webpki, by way of rustls, for path building, signatures, validity and revocation. Around it stands what that
//! leaves to its caller: bounds, `clientAuth` demanded rather than tolerated, and a name that only gateways have. CRLs count
//! where they are given: an authority with one has to keep it fresh, an authority without one clears everybody it issued
//! for, because a control plane that refused its gateways could not revoke anything any more.
//!
//! It never believes in a device: their certificates come from authorities of their own or say `/device/`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use config::GatewayName;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::document::Document;
use crate::identity::{self, TrustDomain};
use crate::path;
use crate::refusal::Refusal;
use crate::trust::TrustFault;

/// Whom a control plane believes to be a gateway.
#[derive(Clone, Debug)]
pub struct GatewayTrust {
    /// Certificates of authorities: every one of them is an anchor.
    pub authorities: Vec<Document>,
    /// CRLs of any authorities; those of others are of no use and do no harm.
    pub crls: Vec<Document>,
    /// The trust domain in the names of gateways.
    pub domain: TrustDomain,
}

/// Verifies the certificates of gateways.
pub struct GatewayVerifier {
    believed: ArcSwap<Believed>,
}

/// One state of trust.
struct Believed {
    chains: Arc<dyn ClientCertVerifier>,
    domain: TrustDomain,
}

impl GatewayVerifier {
    /// A verifier that begins with `trust`.
    ///
    /// # Errors
    /// A document that holds no authority or no CRL, named.
    pub fn new(trust: &GatewayTrust) -> Result<Self, TrustFault> {
        Ok(Self { believed: ArcSwap::from_pointee(Believed::of(trust)?) })
    }

    /// Puts the trust of another verifier in force, for every handshake and every [`GatewayVerifier::identify`] from now on.
    /// Making that one is what can fail, so that this cannot.
    pub fn adopt(&self, other: &Self) {
        self.believed.store(other.believed.load_full());
    }

    /// Which gateway these certificates prove under the trust of this moment: leaf first, as the peer presented them.
    ///
    /// `now` is Unix seconds. It does not prove that the peer holds the key: only a completed handshake does. Whoever keeps
    /// a connection open asks again after a reload.
    ///
    /// # Errors
    /// The check that failed.
    pub fn identify(&self, presented: &[CertificateDer<'_>], now: i64) -> Result<GatewayName, Refusal> {
        let (leaf, others) = presented.split_first().ok_or(Refusal::NoCertificate)?;
        path::within_bounds(leaf, others)?;
        let seconds = u64::try_from(now).map_err(|_| Refusal::NotYetValid)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let believed = self.believed.load();
        believed
            .chains
            .verify_client_cert(leaf, others, now)
            .map_err(|error| Refusal::of(&error).unwrap_or(Refusal::Malformed))?;
        named(leaf, &believed.domain)
    }
}

impl fmt::Debug for GatewayVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayVerifier")
            .field("domain", &self.believed.load().domain)
            .finish_non_exhaustive()
    }
}

impl Believed {
    fn of(trust: &GatewayTrust) -> Result<Self, TrustFault> {
        let mut roots = RootCertStore::empty();
        for document in &trust.authorities {
            for authority in document.certificates()? {
                roots.add(authority).map_err(|fault| unusable(document, fault))?;
            }
        }
        if roots.is_empty() {
            return Err(TrustFault::NoAnchor);
        }
        let crls: Vec<Vec<_>> = trust.crls.iter().map(Document::crls).collect::<Result<_, _>>()?;
        let provider = Arc::new(default_provider());
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(crls.into_iter().flatten())
            .allow_unknown_revocation_status()
            .enforce_revocation_expiration()
            .build()
            .map_err(|fault| TrustFault::Unreadable { origin: "the crls".into(), why: fault.to_string() })?;
        Ok(Self { chains, domain: trust.domain.clone() })
    }
}

/// The gateway that a certificate names, if it is one for clients.
pub(crate) fn named(leaf: &CertificateDer<'_>, domain: &TrustDomain) -> Result<GatewayName, Refusal> {
    let parsed = path::parse(leaf)?;
    path::is_for_clients(&parsed)?;
    identity::gateway(domain, &parsed)
}

fn unusable(document: &Document, fault: impl fmt::Display) -> TrustFault {
    TrustFault::Unreadable { origin: document.origin.clone(), why: format!("it is no authority: {fault}") }
}

impl ClientCertVerifier for GatewayVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None, as for devices: the names of our authorities would outlive a reload.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        path::within_bounds(leaf, others).map_err(Refusal::into_tls)?;
        let believed = self.believed.load();
        let verified = believed.chains.verify_client_cert(leaf, others, now)?;
        named(leaf, &believed.domain).map_err(Refusal::into_tls)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.believed.load().chains.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.believed.load().chains.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.believed.load().chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
