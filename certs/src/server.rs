//! TLS configurations of the listeners: those that authenticate devices or gateways, and one that plainly does not.
//!
//! Relies on rustls for the protocol and names its provider, aws-lc-rs, instead of a process-wide default. Nothing here resumes
//! but a device port of TLS 1.3 that is given [`Tickets`]; there is no session cache and no early data. Keys are never
//! logged, whatever the environment says. Reloading means building another configuration.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use config::GatewayName;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ConfigBuilder, NoKeyLog, SupportedProtocolVersion, WantsVerifier, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::document::Document;
use crate::gateway::{self, GatewayVerifier};
use crate::identity::TrustDomain;
use crate::refusal::Refusal;
use crate::tickets::Tickets;
use crate::trust::TrustFault;
use crate::verifier::DeviceVerifier;

/// Which versions of TLS a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// TLS 1.3 alone.
    #[default]
    Tls13,
    /// TLS 1.3, and TLS 1.2 with the extended master secret (RFC 7627) and ECDHE AEAD suites.
    Tls12And13,
}

impl TlsVersions {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
        static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        match self {
            Self::Tls13 => TLS13,
            Self::Tls12And13 => BOTH,
        }
    }
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ServerFault {
    /// The certificate file cannot be read or holds no certificate.
    #[error(transparent)]
    Certificate(#[from] TrustFault),
    /// The key file cannot be read or holds no private key in PEM.
    #[error("{origin}: {why}")]
    Key {
        /// The file.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key is not the certificate's, or rustls cannot use the pair.
    #[error("{certificate} and {key} do not go together: {fault}")]
    Mismatch {
        /// The certificate file.
        certificate: String,
        /// The key file.
        key: String,
        /// What rustls says.
        fault: rustls::Error,
    },
    /// rustls refuses the combination of versions.
    #[error("the tls versions cannot be used: {0}")]
    Versions(rustls::Error),
}

/// A server's certificate chain with its private key.
#[derive(Clone)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    not_after: i64,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Loads a PEM chain, leaf first, and its PEM key (PKCS #8, SEC 1 or PKCS #1).
    ///
    /// # Errors
    /// [`ServerFault`], naming the file and what is wrong: unreadable, empty, no key, a key of another certificate.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, ServerFault> {
        let document = Document::read(chain)?;
        let origin = key.display().to_string();
        let fault = |why: String| ServerFault::Key { origin: origin.clone(), why };
        let pem = std::fs::read(key).map_err(|error| fault(format!("cannot be read: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| fault("holds no private key".into()))?;
        Self::certified(document.certificates()?, key, &document.origin, &origin)
    }

    /// From memory.
    ///
    /// # Errors
    /// [`ServerFault`], as [`ServerCertificate::load`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ServerFault> {
        Self::certified(chain, key, "the certificate", "the key")
    }

    /// The chain, leaf first, with its key: for whoever presents it as a client.
    pub(crate) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The gateway that the leaf names, before anybody believes it.
    ///
    /// # Errors
    /// The same refusal with which a control plane of this trust domain would refuse the certificate for its name.
    pub fn gateway(&self, domain: &TrustDomain) -> Result<GatewayName, Refusal> {
        let leaf = self.certified.cert.first().ok_or(Refusal::NoCertificate)?;
        gateway::named(leaf, domain)
    }

    /// The leaf's end, Unix seconds.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    fn certified(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        certificate_origin: &str,
        key_origin: &str,
    ) -> Result<Self, ServerFault> {
        let not_after = chain.first().and_then(|leaf| {
            let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
            Some(leaf.validity().not_after.timestamp())
        });
        let mismatch = |fault| ServerFault::Mismatch {
            certificate: certificate_origin.into(),
            key: key_origin.into(),
            fault,
        };
        let certified = CertifiedKey::from_der(chain, key, &default_provider()).map_err(mismatch)?;
        Ok(Self { certified: Arc::new(certified), not_after: not_after.unwrap_or(0) })
    }
}

/// Tickets that a handshake gives out, unless the device asks for another number (RFC 9149): each return replaces the one
/// that it used up, so a device comes to have as many as it opens connections at once.
const TICKETS: usize = 1;
/// The most that it gives out.
const MOST_TICKETS: usize = 4;

/// The configuration of the device port: every connection proves a device.
///
/// `alpn` is what is offered, most preferred first; a peer that offers only other protocols is refused. `clock` replaces the
/// wall clock that the verifier is given. Without `tickets`, and where TLS 1.2 is spoken, every handshake is a full one.
/// With them a device may return without showing its certificate: the caller asks [`DeviceVerifier::identify`] after
/// every handshake.
///
/// # Errors
/// [`ServerFault::Versions`].
pub fn server_config(
    certificate: &ServerCertificate,
    verifier: Arc<DeviceVerifier>,
    versions: TlsVersions,
    alpn: &[&[u8]],
    clock: Option<Arc<dyn TimeProvider>>,
    tickets: Option<Arc<Tickets>>,
) -> Result<Arc<ServerConfig>, ServerFault> {
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.certified)));
    let mut config = begin(versions)?.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    if let Some(clock) = clock {
        config.time_provider = clock;
    }
    let mut config = finish(config, alpn);
    if let Some(tickets) = tickets.filter(|_| versions == TlsVersions::Tls13) {
        config.ticketer = tickets;
        config.send_tls13_tickets = TICKETS;
        config.max_tls13_tickets = MOST_TICKETS;
    }
    Ok(Arc::new(config))
}

/// The configuration of a control plane's listener for gateways: TLS 1.3, and every connection proves a gateway.
///
/// # Errors
/// [`ServerFault::Versions`].
pub fn gateway_server_config(
    certificate: &ServerCertificate,
    verifier: Arc<GatewayVerifier>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, ServerFault> {
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.certified)));
    let begun = begin(TlsVersions::Tls13)?.with_client_cert_verifier(verifier);
    Ok(Arc::new(finish(begun.with_cert_resolver(resolver), alpn)))
}

/// The configuration of a listener that anybody may use, such as the one that serves the PAC file, or an API that asks for
/// tokens. It asks for no certificate:
/// nothing that decides about a device may stand behind it.
///
/// # Errors
/// [`ServerFault::Versions`].
pub fn server_config_without_device_authentication(
    certificate: &ServerCertificate,
    versions: TlsVersions,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, ServerFault> {
    let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.certified)));
    Ok(Arc::new(finish(begin(versions)?.with_no_client_auth().with_cert_resolver(resolver), alpn)))
}

fn begin(versions: TlsVersions) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, ServerFault> {
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions.supported())
        .map_err(ServerFault::Versions)
}

/// What all listeners share. Some of it is the default of rustls: a default that matters is stated.
fn finish(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0; // the ticketer is the default one, which is disabled
    config.max_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    config.require_ems = true;
    config.key_log = Arc::new(NoKeyLog {});
    config.enable_secret_extraction = false;
    config
}

#[cfg(test)]
mod tests;
