//! The API over a log in memory: every endpoint for every role, bodies that are wrong, and what becomes of those that are right.

mod access;
mod approvals;
mod bodies;

use std::collections::BTreeMap;

use audit::{Recorder, RecorderOptions, Sink};
use axum::body::Body;
use config::settings::{Approval, ApprovalRole};
use config::{ApiRole, ApiToken};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::control::PlaneOptions;
use crate::control::callers::CallerLimits;
use crate::control::tokens::{Tokens, make_token};
use crate::envelope::Envelope;
use crate::keys::{KeyRing, Role, SigningKey, TrustedKey};
use crate::signed::{Approvals, sign_manifest};
use crate::snapshot::PolicyBounds;
use crate::testing::{Draft, key};
use crate::transport::memory::MemoryLog;

const GENEROUS: CallerLimits =
    CallerLimits { requests_per_second: 1000, burst: 10_000, attempts_per_minute: 10_000 };

/// A control plane with its API, a key for everything, and a token for every role.
struct Served {
    log: MemoryLog,
    router: Router,
    keys: BTreeMap<&'static str, SigningKey>,
    tokens: BTreeMap<&'static str, String>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The status, the word and the field of a refusal.
    fn refusal(&self) -> (u16, String, String) {
        let view: ErrorView = serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"));
        (self.status.as_u16(), view.error, view.field.unwrap_or_default())
    }
}

impl Served {
    async fn start() -> Self {
        Self::with(GENEROUS).await
    }

    async fn with(limits: CallerLimits) -> Self {
        let keys: BTreeMap<_, _> = [
            ("control-1", Role::Control),
            ("revoker-1", Role::Revoker),
            ("approver-1", Role::Approver),
            ("author-1", Role::Author),
            ("security-1", Role::Security),
        ]
        .into_iter()
        .map(|(name, role)| (name, (key(name), role)))
        .collect();
        let mut ring = KeyRing::default();
        for (key, role) in keys.values() {
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[*role])).unwrap();
        }
        let keys: BTreeMap<_, _> = keys.into_iter().map(|(name, (key, _))| (name, key)).collect();
        let both = vec![ApprovalRole::Approver, ApprovalRole::Security];
        let approval = Approval { agent: Some("careful".parse().unwrap()), roles: both };
        let log = MemoryLog::default();
        let registry = Registry::new();
        let recorder = Recorder::open(
            RecorderOptions::new("control-1", Sink::Memory(audit::MemoryLog::new())),
            &registry,
        )
        .unwrap();
        // A key is never copied in memory; the plane has its own from a file.
        let dir = tempfile::tempdir().unwrap();
        let again = |name: &str| {
            let path = dir.path().join(name);
            keys[name].write(&path).unwrap();
            SigningKey::read(keys[name].id().clone(), &path).unwrap()
        };
        let plane = Plane::open(PlaneOptions {
            name: "control-1".into(),
            transport: Arc::new(log.clone()),
            ring,
            control: again("control-1"),
            revoker: Some(again("revoker-1")),
            approver: Some(again("approver-1")),
            approvals: Approvals::new(&[approval]),
            crl_issuers: certs::CrlIssuers::anybody(),
            bounds: PolicyBounds::default(),
            silent_upload: config::Limit::Unlimited,
            new_epoch: false,
            recorder,
            registry: registry.clone(),
        })
        .await
        .unwrap();
        log.serve(plane.clone());
        let (tokens, entries) = tokens();
        let callers = Arc::new(Callers::new(Tokens::new(entries), None, limits));
        let wait = Duration::from_millis(200);
        let router = router(ApiOptions { plane, callers, wait, registry }).unwrap();
        Self { log, router, keys, tokens }
    }

    /// Sends a request as whoever has this token; JSON if there is a body.
    async fn ask(&self, who: &str, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut fields = HeaderMap::new();
        if let Some(token) = self.tokens.get(who) {
            fields.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        if body.is_some() {
            fields.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        }
        self.send(method, path, fields, body.unwrap_or_default().to_owned()).await
    }

    async fn send(&self, method: &str, path: &str, fields: HeaderMap, body: impl Into<Body>) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path).body(body.into()).unwrap();
        *request.headers_mut() = fields;
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: head.status, fields: head.headers, text }
    }

    /// The envelope of a manifest, signed by these keys.
    fn manifest(&self, draft: &Draft<'_>, signers: &[&str]) -> String {
        let issued_at = Timestamp::now().as_second();
        let (first, others) = signers.split_first().unwrap();
        let mut envelope = sign_manifest(draft.read(), issued_at, &self.keys[first]);
        for other in others {
            envelope.add_signature(&self.keys[other]);
        }
        String::from_utf8(envelope.to_json()).unwrap()
    }

    /// The same payload, signed by another key alone.
    fn signed_too(&self, envelope: &str, signer: &str) -> String {
        let read = Envelope::read(envelope.as_bytes()).unwrap();
        let payload = read.unverified_payload().to_vec();
        let signed = Envelope::sign(read.payload_type(), payload, &self.keys[signer]);
        String::from_utf8(signed.to_json()).unwrap()
    }
}

/// A token for every role, two of approvers, and one that has expired.
fn tokens() -> (BTreeMap<&'static str, String>, Vec<ApiToken>) {
    let mut texts = BTreeMap::new();
    let mut entries = Vec::new();
    for (id, role, expires) in [
        ("viewer", ApiRole::Viewer, Timestamp::MAX),
        ("author", ApiRole::Author, Timestamp::MAX),
        ("approver", ApiRole::Approver, Timestamp::MAX),
        ("approver2", ApiRole::Approver, Timestamp::MAX),
        ("revoker", ApiRole::Revoker, Timestamp::MAX),
        ("auditor", ApiRole::Auditor, Timestamp::MAX),
        ("admin", ApiRole::Admin, Timestamp::MAX),
        ("expired", ApiRole::Admin, Timestamp::UNIX_EPOCH),
    ] {
        let (text, sha256) = make_token(id).unwrap();
        texts.insert(id, text);
        let owner = format!("{id}@example.com").parse().unwrap();
        entries.push(ApiToken { id: id.into(), sha256, owner, roles: vec![role], expires });
    }
    texts.insert("unknown", make_token("admin").unwrap().0);
    (texts, entries)
}
