//! The API of a control plane over HTTPS, with a bearer token.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use crate::answer::Answer;
use crate::device::dial;
use crate::pki::Credentials;
use crate::wait::promptly;
use crate::wire::Wire;

/// Where revocations are ordered.
pub const REVOKE: &str = "/api/v1/revoke";
/// Where revocations are listed, and lifted.
pub const REVOCATIONS: &str = "/api/v1/revocations";
/// Where manifests are listed and put.
pub const MANIFESTS: &str = "/api/v1/manifests";
/// Where CRLs are put.
pub const CRLS: &str = "/api/v1/crls";
/// Where gateways are listed.
pub const GATEWAYS: &str = "/api/v1/gateways";

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Puts manifests.
    Author,
    /// Approves and lifts.
    Approver,
    /// Revokes.
    Revoker,
    /// Reads everything.
    Auditor,
    /// Everything but approving its own.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Viewer, Self::Author, Self::Approver, Self::Revoker, Self::Auditor, Self::Admin];

    /// As it is written in the file of tokens.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Author => "author",
            Self::Approver => "approver",
            Self::Revoker => "revoker",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

/// A token for each role, each of another owner.
#[derive(Debug)]
pub struct Tokens(Vec<(Role, String)>);

impl Tokens {
    /// Makes the tokens, and writes the file of their digests.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn found(file: &Path) -> Self {
        let tokens: Vec<_> = Role::ALL.into_iter().map(|role| (role, token(role.word()))).collect();
        let mut text = String::new();
        for (role, token) in &tokens {
            let word = role.word();
            writeln!(
                text,
                "[[tokens]]\nid = \"{word}\"\nsha256 = \"{}\"\nowner = \"{word}@example.com\"\nroles = [\"{word}\"]\n\
                 expires = \"2099-01-01T00:00:00Z\"",
                digest(token)
            )
            .expect("a string takes everything");
        }
        std::fs::write(file, text).expect("the tokens are written");
        Self(tokens)
    }

    /// The token with this role and no other.
    ///
    /// # Panics
    /// Never: there is one for each.
    #[must_use]
    pub fn of(&self, role: Role) -> &str {
        &self.0.iter().find(|(own, _)| *own == role).expect("every role has a token").1
    }
}

/// A new token of this id.
///
/// # Panics
/// When the system gives no randomness.
#[must_use]
pub fn token(id: &str) -> String {
    let mut secret = [0; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut secret).expect("randomness");
    format!("pct_{id}_{}", URL_SAFE_NO_PAD.encode(secret))
}

/// SHA-256 in hex, as the file of tokens has it.
#[must_use]
pub fn digest(token: &str) -> String {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().expect("a suite of TLS 1.3").common.hash_provider.hash(token.as_bytes());
    hex(hash.as_ref())
}

/// Somebody who asks the API.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Api {
    /// Somebody with this token.
    ///
    /// # Panics
    /// Never: the versions are supported.
    #[must_use]
    pub fn new(address: SocketAddr, roots: Arc<RootCertStore>, token: &str) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions are supported")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { address, tls: Arc::new(tls), token: token.to_owned() }
    }

    /// A connection to the API.
    ///
    /// # Errors
    /// When nobody listens or the handshake fails.
    pub async fn wire(&self) -> io::Result<Wire> {
        let tcp = dial(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = promptly("the TLS handshake ends", connector.connect(name, tcp)).await?;
        Ok(Wire::new(stream))
    }

    /// The head and the body of a request with the token. A body is JSON, or PEM when it begins as such.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let Self { address, token, .. } = self;
        let kind =
            if body.starts_with(b"-----BEGIN") { "application/x-pem-file" } else { "application/json" };
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n");
        if !body.is_empty() || method == "POST" || method == "PUT" {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Asks on a connection of its own.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn send(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.wire().await?.ask(self.request(method, path, body)).await
    }

    /// A GET.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn get(&self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, b"").await
    }

    /// A POST of JSON.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.send("POST", path, body.to_string().as_bytes()).await
    }

    /// Has the envelope of a manifest written down.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn push(&self, envelope: &[u8]) -> io::Result<Answer> {
        self.send("PUT", MANIFESTS, envelope).await
    }

    /// Orders a revocation, waiting so long for gateways; the whole answer.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn order(&self, body: &Value, wait: Duration) -> io::Result<Answer> {
        self.post(&format!("{REVOKE}?wait_ms={}", wait.as_millis()), body).await
    }

    /// Orders the revocation of a target such as `{"device": "d"}`; the receipt.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn revoke(&self, target: &Value, reason: &str, wait: Duration) -> Value {
        let answer = self.order(&body(target, reason), wait).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Lifts a revocation by its sequence.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn lift(&self, sequence: u64) -> io::Result<Answer> {
        self.send("DELETE", &format!("{REVOCATIONS}/{sequence}"), b"").await
    }

    /// Has a CRL, PEM, written down.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn crl(&self, pem: &str) -> io::Result<Answer> {
        self.send("PUT", CRLS, pem.as_bytes()).await
    }
}

/// The body of an order to revoke: the target's fields, a reason, and the instant of the order.
#[must_use]
pub fn body(target: &Value, reason: &str) -> Value {
    let mut body = target.clone();
    body["reason"] = json!(reason);
    body["timestamp"] = json!(jiff::Timestamp::now().to_string());
    body
}

/// A certificate by its fingerprint.
#[must_use]
pub fn by_fingerprint(credentials: &Credentials) -> Value {
    json!({"certificate": hex(&credentials.fingerprint)})
}

/// A certificate as its issuer calls it.
#[must_use]
pub fn by_serial(credentials: &Credentials) -> Value {
    let issuer = base64::engine::general_purpose::STANDARD.encode(credentials.issuer());
    json!({"certificate": {"issuer": issuer, "serial": hex(&credentials.serial)}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
