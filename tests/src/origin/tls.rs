//! A TLS origin with a certificate of its own authority, and the TLS client that an agent runs inside a tunnel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::http::answer_over;
use crate::wait::promptly;
use crate::wire::{Stream, Wire};

/// An HTTPS origin for `origin.test`, `other.test` and their subdomains: every request gets `200` and `hello`.
#[derive(Debug)]
pub struct TlsOrigin {
    address: SocketAddr,
    authority_pem: String,
    authority: CertificateDer<'static>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for TlsOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const NAMES: [&str; 4] = ["origin.test", "*.origin.test", "other.test", "origin6.test"];

impl TlsOrigin {
    /// Starts on 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port on loopback.
    pub async fn start() -> Self {
        let (authority, leaf, key) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let acceptor = TlsAcceptor::from(Arc::new(server(leaf, key)));
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer_over(stream).await;
                    }
                });
            }
        });
        Self { address, authority_pem: authority.pem(), authority: authority.der().clone(), accepted, task }
    }

    /// `origin.test:port`.
    #[must_use]
    pub fn destination(&self) -> String {
        self.at("origin.test")
    }

    /// `host:port` under this name.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        format!("{name}:{}", self.address.port())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client has to trust, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// How many connections were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// What a client has to trust.
    ///
    /// # Panics
    /// Never: the certificate was made here.
    #[must_use]
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an anchor");
        roots
    }
}

/// Speaks TLS with the origin through an open tunnel, as an agent does.
///
/// # Errors
/// When the handshake fails or the tunnel breaks.
///
/// # Panics
/// When the name is none.
pub async fn tunnelled(stream: impl Stream + 'static, name: &str, roots: RootCertStore) -> io::Result<Wire> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are supported")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let stream =
        promptly("TLS to the origin", TlsConnector::from(Arc::new(tls)).connect(name, stream)).await?;
    Ok(Wire::new(stream))
}

fn certificates() -> (rcgen::Certificate, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages =
        vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "lab origins");
    let certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut leaf = rcgen::CertificateParams::new(NAMES.map(String::from).to_vec()).expect("parameters");
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    (certificate, leaf.der().clone(), key)
}

fn server(leaf: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are supported")
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .expect("the key is the certificate's")
}
