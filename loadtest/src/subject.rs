//! What is measured? A CONNECT proxy as a client sees it, and the process that it runs in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// A proxy under test.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What the report calls it.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What protects the way to it.
    pub(crate) hop: Hop,
    /// What is spoken to it.
    pub(crate) protocol: Protocol,
    /// Its process, when that can be looked into.
    pub(crate) process: Option<u32>,
    /// What it is asked for, in turns.
    pub(crate) destinations: Arc<[String]>,
}

/// The way from a client to a proxy.
#[derive(Debug, Clone)]
pub(crate) enum Hop {
    /// TLS, mutual when the configuration has a certificate.
    Tls {
        /// The name in the proxy's certificate.
        server_name: ServerName<'static>,
        /// The client side.
        config: Arc<ClientConfig>,
    },
    /// Nothing: proxies that have no TLS on this side.
    Plain,
}

/// How tunnels are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1: a connection for each tunnel.
    H1,
    /// HTTP/2: tunnels share connections.
    H2 {
        /// Tunnels on one connection at most.
        streams: usize,
    },
}

impl Protocol {
    fn alpn(self) -> Vec<u8> {
        match self {
            Self::H1 => b"http/1.1".to_vec(),
            Self::H2 { .. } => b"h2".to_vec(),
        }
    }
}

impl Hop {
    /// The same way, with the client side changed.
    fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        match self {
            Self::Tls { server_name, config } => {
                let mut config = ClientConfig::clone(config);
                change(&mut config);
                Self::Tls { server_name: server_name.clone(), config: Arc::new(config) }
            }
            Self::Plain => Self::Plain,
        }
    }
}

impl Subject {
    /// The destination of a tunnel.
    pub(crate) fn destination(&self, number: usize) -> &str {
        let turn = number % self.destinations.len().max(1);
        self.destinations.get(turn).map_or("", String::as_str)
    }

    /// The same proxy, spoken to as another device over HTTP/1.1.
    pub(crate) fn as_device(&self, config: Arc<ClientConfig>) -> Self {
        let hop = match &self.hop {
            Hop::Tls { server_name, .. } => Hop::Tls { server_name: server_name.clone(), config },
            Hop::Plain => Hop::Plain,
        };
        Self { hop, protocol: Protocol::H1, ..self.clone() }
    }

    /// The same proxy, spoken to in another protocol.
    pub(crate) fn over(&self, protocol: Protocol) -> Self {
        let hop = self.hop.with(|tls| tls.alpn_protocols = vec![protocol.alpn()]);
        Self { hop, protocol, ..self.clone() }
    }

    /// The same proxy, spoken to by a client that resumes its own earlier sessions and nobody else's.
    pub(crate) fn resuming(&self) -> Self {
        let hop = self.hop.with(|tls| tls.resumption = Resumption::in_memory_sessions(1));
        Self { hop, ..self.clone() }
    }

    /// The same proxy, spoken to by somebody without a certificate.
    pub(crate) fn anonymous(&self) -> Self {
        let hop = self.hop.with(|tls| tls.client_auth_cert_resolver = Arc::new(Nobody));
        Self { hop, ..self.clone() }
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not known.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.with_context(|| format!("the process of {} is not known; name it with --pid", self.name))
    }
}

/// Has no certificate to show.
#[derive(Debug)]
struct Nobody;

impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The same, from PEM files: the authority of the proxy, certificate and key of the device.
///
/// # Errors
/// When a file cannot be read, or certificate and key do not belong together.
pub(crate) fn client_tls_of_files(
    authority: &Path,
    certificate: &Path,
    key: &Path,
) -> anyhow::Result<Arc<ClientConfig>> {
    let read = |file: &Path| std::fs::read(file).with_context(|| file.display().to_string());
    let authority = CertificateDer::from_pem_slice(&read(authority)?)?;
    let pem = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?;
    client_tls(&authority, chain, PrivateKeyDer::from_pem_slice(&read(key)?)?)
}

/// The client side of mTLS: TLS 1.3, AES-128-GCM, X25519, nothing resumed. One choice of algorithms, so that figures of
/// different proxies speak of the same work.
///
/// # Errors
/// When certificate and key do not belong together.
pub(crate) fn client_tls(
    authority: &CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.clone())?;
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.resumption = Resumption::disabled();
    tls.alpn_protocols = vec![Protocol::H1.alpn()];
    Ok(Arc::new(tls))
}
