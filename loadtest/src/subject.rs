//! What is measured? A CONNECT proxy behind mTLS, as a client sees it, and the process that it runs in.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// A proxy under test.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What the report calls it.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The name in its certificate.
    pub(crate) server_name: ServerName<'static>,
    /// The client side of its mTLS.
    pub(crate) tls: Arc<ClientConfig>,
    /// Its process, when that can be looked into.
    pub(crate) process: Option<u32>,
    /// What it is asked for, in turns.
    pub(crate) destinations: Arc<[String]>,
}

impl Subject {
    /// The destination of a tunnel.
    pub(crate) fn destination(&self, number: usize) -> &str {
        let turn = number % self.destinations.len().max(1);
        self.destinations.get(turn).map_or("", String::as_str)
    }

    /// The same proxy, spoken to as another device.
    pub(crate) fn as_device(&self, tls: Arc<ClientConfig>) -> Self {
        Self { tls, ..self.clone() }
    }

    /// Its process.
    ///
    /// # Errors
    /// When it is not known.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.with_context(|| format!("the process of {} is not known; name it with --pid", self.name))
    }
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
    tls.resumption = rustls::client::Resumption::disabled();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}
