//! A control plane, an issuer of tokens, and a place where it publishes its keys, for the tests of several modules.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit::{Recorder, RecorderOptions, Sink};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::authority::Authority;
use certs::{ServerCertificate, TlsVersions, server_config_without_device_authentication};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prometheus::Registry;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::plane::{Plane, PlaneOptions, RevokeOrder, RevokeWhat};
use crate::keys::{KeyRing, Role, SigningKey, TrustedKey};
use crate::log::Entry;
use crate::signed::{Approvals, sign_manifest};
use crate::snapshot::PolicyBounds;
use crate::target::Target;
use crate::testing::{Draft, key};
use crate::transport::memory::MemoryLog;

/// Signs tokens with one P-256 key.
pub(crate) struct Issuer {
    id: String,
    key: EncodingKey,
    jwk: Value,
}

impl Issuer {
    pub(crate) fn new(id: &str) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": x, "y": y});
        Self { id: id.to_owned(), key: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    /// What it publishes.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.jwk, {"kty": "something new", "kid": "later"}]})
    }

    pub(crate) fn sign(&self, claims: &Value, typ: Option<&str>) -> String {
        self.sign_with_header(claims, |header| header.typ = typ.map(str::to_owned))
    }

    pub(crate) fn sign_with_header(&self, claims: &Value, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// An HTTPS server with the keys of one issuer.
pub(crate) struct PublishedKeys {
    _dir: tempfile::TempDir,
    ca: PathBuf,
    port: u16,
    fetches: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for PublishedKeys {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl PublishedKeys {
    pub(crate) async fn serve(issuer: &Issuer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let authority = Authority::init(&dir.path().join("ca"), "issuer.test", hour).unwrap();
        let issued = authority.issue_gateway("keys", &["localhost"], &[], hour).unwrap();
        let chain = CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem().unwrap().as_bytes()).unwrap();
        let certificate = ServerCertificate::new(vec![chain], key).unwrap();
        let tls =
            server_config_without_device_authentication(&certificate, TlsVersions::Tls13, &[b"http/1.1"])
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fetches, body) = (Arc::<AtomicUsize>::default(), issuer.jwks().to_string());
        let counted = Arc::clone(&fetches);
        let server = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(tls);
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(socket).await else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                let body = body.clone();
                let service = hyper::service::service_fn(move |_| {
                    let answer =
                        http::Response::new(http_body_util::Full::<bytes::Bytes>::from(body.clone()));
                    std::future::ready(Ok::<_, std::convert::Infallible>(answer))
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = served.await;
            }
        });
        Self { ca: dir.path().join("ca/ca.pem"), _dir: dir, port, fetches, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.port)
    }

    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// A control plane over a log in memory, with every key it may need.
pub(crate) struct Planes {
    pub(crate) plane: Arc<Plane>,
    pub(crate) author: SigningKey,
    pub(crate) registry: Registry,
    pub(crate) recorder: Recorder,
    _dir: tempfile::TempDir,
}

impl Planes {
    pub(crate) async fn open() -> Self {
        let [author, control, revoker, approver] = ["author", "control", "revoker", "approver"].map(key);
        let roles = [Role::Author, Role::Control, Role::Revoker, Role::Approver];
        let mut ring = KeyRing::default();
        for (key, role) in [&author, &control, &revoker, &approver].into_iter().zip(roles) {
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
        }
        let (dir, registry) = (tempfile::tempdir().unwrap(), Registry::new());
        let sink = Sink::File(dir.path().join("events.jsonl"));
        let recorder = Recorder::open(RecorderOptions::new("control", sink), &registry).unwrap();
        let options = PlaneOptions {
            name: "control-1".into(),
            transport: Arc::new(MemoryLog::default()),
            ring,
            control,
            revoker: Some(revoker),
            approver: Some(approver),
            approvals: Approvals::default(),
            crl_issuers: certs::CrlIssuers::anybody(),
            bounds: PolicyBounds::default(),
            silent_upload: config::Limit::Unlimited,
            new_epoch: false,
            recorder: recorder.clone(),
            registry: registry.clone(),
        };
        Self { plane: Plane::open(options).await.unwrap(), author, registry, recorder, _dir: dir }
    }

    /// Has a manifest written down, issued now.
    pub(crate) async fn submit(&self, draft: &Draft<'_>) {
        self.submit_issued(draft, Timestamp::now()).await;
    }

    pub(crate) async fn submit_issued(&self, draft: &Draft<'_>, issued: Timestamp) {
        let envelope = sign_manifest(draft.read(), issued.as_second(), &self.author);
        let entry = Entry::Manifest(envelope.to_json().into());
        self.plane.submit(entry, "author").await.unwrap();
    }

    /// Revokes, and says under which sequence.
    pub(crate) async fn revoke(&self, target: Target) -> u64 {
        let what = RevokeWhat::Unsigned { target, reason: "test".into(), timestamp: None };
        let order = RevokeOrder { what, by: "tester".into(), wait: Duration::ZERO };
        self.plane.revoke(order).await.unwrap().sequence
    }
}
