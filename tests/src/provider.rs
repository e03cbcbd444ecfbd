//! An identity provider: an issuer of signed tokens, with its keys behind HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::pki::Pki;
use crate::wire::Wire;

/// The name of its key.
const KEY: &str = "key-1";

/// Signs with Ed25519, and publishes the key.
#[derive(Debug)]
pub struct Provider {
    key: KeyPair,
    address: SocketAddr,
    fetches: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    dir: TempDir,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Starts on loopback.
    ///
    /// # Panics
    /// When there is no port on loopback.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let public = URL_SAFE_NO_PAD.encode(key.der_bytes());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": KEY, "use": "sig", "x": public}]});
        let body = keys.to_string();
        std::fs::write(dir.path().join("keys.json"), &body).expect("written");
        // Its own authority, not the one that the fleet trusts.
        let credentials = Pki::found(dir.path()).gateway("keys");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions are supported")
            .with_no_client_auth()
            .with_single_cert(credentials.chain, credentials.key)
            .expect("the key is the certificate's");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let fetches = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&fetches);
        let task = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let mut wire = Wire::new(stream);
                if wire.until(b"\r\n\r\n").await.is_err() {
                    continue;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                // Whoever asked may have gone away.
                let _ = wire.send(head + &body).await;
                let _ = wire.finish().await;
            }
        });
        Self { key, address, fetches, task, dir }
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    /// The same, in a file.
    #[must_use]
    pub fn jwks_file(&self) -> PathBuf {
        self.dir.path().join("keys.json")
    }

    /// What a client of its HTTPS has to trust: a PEM file.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca/ca.pem")
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// A signed token of this type.
    #[must_use]
    pub fn token(&self, typ: &str, claims: &Value) -> String {
        self.signed(&json!({"alg": "EdDSA", "kid": KEY, "typ": typ}), claims)
    }

    /// A signed token with any header.
    ///
    /// # Panics
    /// Never: the key signs everything.
    #[must_use]
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
