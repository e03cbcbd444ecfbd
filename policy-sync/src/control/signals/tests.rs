//! Deliveries over HTTP routes, with real signatures; what they withdraw is noted instead of done.

use std::collections::BTreeMap;

use audit::{RecorderOptions, Sink};
use axum::Router;
use axum::body::Body;
use config::settings::{SignalTarget, SubjectFormat, SubjectMapping};
use http::{Request, StatusCode, header};
use prometheus::Registry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::control::testing::{Issuer, Planes};
use crate::transport::memory::MemoryLog;

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://control.example/signals";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CREDENTIAL_CHANGE: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
const COMPLIANCE: &str = "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

/// Notes what it is asked for.
#[derive(Default)]
struct Noted {
    orders: Mutex<Vec<Withdrawal>>,
    broken: std::sync::atomic::AtomicBool,
}

impl Revokes for Noted {
    fn withdraw(&self, order: Withdrawal) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if self.broken.load(std::sync::atomic::Ordering::SeqCst) {
                return Err("the disk is full".into());
            }
            self.orders.lock().unwrap().push(order);
            Ok(())
        })
    }
}

struct Bench {
    issuer: Issuer,
    noted: Arc<Noted>,
    receiver: Arc<Receiver>,
    routes: Router,
    registry: Registry,
    dir: tempfile::TempDir,
    settings: SignalSettings,
    log: MemoryLog,
}

fn mapping(member: Option<&str>, format: SubjectFormat, to: SignalTarget) -> SubjectMapping {
    SubjectMapping {
        member: member.map(str::to_owned),
        format,
        to,
        lowercase: false,
        strip_prefix: String::new(),
        strip_suffix: String::new(),
        add_prefix: String::new(),
        add_suffix: String::new(),
    }
}

fn settings(keys: &str) -> SignalSettings {
    use SignalTarget::{Certificate, Device, User};
    SignalSettings {
        name: "idp".into(),
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks: keys.into(),
        ca: None,
        algorithms: vec!["ES256".into()],
        authorization_sha256: None,
        max_age: Duration::from_secs(3600),
        tokens_per_second: 1000,
        burst: 1000,
        subjects: vec![
            mapping(None, SubjectFormat::Email, User),
            mapping(Some("user"), SubjectFormat::Email, User),
            SubjectMapping {
                strip_prefix: "mdm:".into(),
                lowercase: true,
                add_prefix: "device-".into(),
                ..mapping(Some("device"), SubjectFormat::Opaque, Device)
            },
            mapping(None, SubjectFormat::IssuerSubject, User),
            SubjectMapping {
                strip_prefix: "urn:sha256:".into(),
                ..mapping(None, SubjectFormat::Uri, Certificate)
            },
        ],
        events: BTreeMap::from([
            (SignalEvent::SessionRevoked, vec![Certificate, Device, User]),
            (SignalEvent::CredentialChange, vec![Certificate, User, Device]),
            (SignalEvent::DeviceNotCompliant, vec![Device]),
            (SignalEvent::AccountDisabled, vec![User]),
        ]),
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut SignalSettings)) -> Self {
        let (dir, issuer) = (tempfile::tempdir().unwrap(), Issuer::new("key-1"));
        let keys = dir.path().join("keys.json");
        std::fs::write(&keys, issuer.jwks().to_string()).unwrap();
        let mut settings = settings(keys.to_str().unwrap());
        change(&mut settings);
        Self::over(issuer, dir, settings, MemoryLog::default()).await
    }

    async fn over(issuer: Issuer, dir: tempfile::TempDir, settings: SignalSettings, log: MemoryLog) -> Self {
        let (noted, registry) = (Arc::<Noted>::default(), Registry::new());
        let sink = Sink::File(dir.path().join("events.jsonl"));
        let recorder = Recorder::open(RecorderOptions::new("control", sink), &registry).unwrap();
        let receiver = Receiver::open(ReceiverOptions {
            settings: std::slice::from_ref(&settings),
            revokes: Arc::clone(&noted) as Arc<dyn Revokes>,
            memory: Arc::new(log.clone()),
            recorder,
            registry: &registry,
        });
        let receiver = Arc::new(receiver.await.unwrap());
        let routes = routes(Arc::clone(&receiver));
        Self { issuer, noted, receiver, routes, registry, dir, settings, log }
    }

    /// The same after a restart: another process over the same log.
    async fn again(self) -> Self {
        Self::over(self.issuer, self.dir, self.settings, self.log).await
    }

    /// A token about `subject`, with what a test changes about its claims.
    fn token(&self, event: &str, fields: Value, subject: Value, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "iat": Timestamp::now().as_second(),
            "jti": format!("{event}{fields}{subject}"), "sub_id": subject, "events": {event: fields},
        });
        change(&mut claims);
        self.issuer.sign(&claims, Some("secevent+jwt"))
    }

    async fn post(&self, token: String) -> (StatusCode, Value) {
        let request =
            Request::post("/api/v1/signals").header(header::CONTENT_TYPE, "application/secevent+jwt");
        self.send(request.body(Body::from(token)).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn accepted(&self, event: &str, fields: Value, subject: Value) -> Vec<String> {
        let before = self.noted.orders.lock().unwrap().len();
        let token = self.token(event, fields, subject, |_| ());
        assert_eq!(self.post(token).await, (StatusCode::ACCEPTED, Value::Null));
        let orders = self.noted.orders.lock().unwrap();
        orders.iter().skip(before).map(|order| order.target.to_string()).collect()
    }

    fn counted(&self, metric: &str, labels: &[&str]) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == metric);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let matching = metrics.iter().filter(|metric| {
            let values: Vec<_> = metric.get_label().iter().map(|label| label.value()).collect();
            labels.iter().all(|label| values.contains(label))
        });
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        matching.map(|metric| metric.get_counter().get_value() as u64).sum()
    }
}

fn alice() -> Value {
    json!({"format": "email", "email": "alice@example.com"})
}

#[tokio::test]
async fn events_become_the_revocations_that_the_table_says() {
    let bench = Bench::new().await;
    let device =
        json!({"format": "complex", "user": alice(), "device": {"format": "opaque", "id": "MDM:77"}});
    let fingerprint = "ab".repeat(32);
    let none: [&str; 0] = [];
    for (event, fields, subject, expected) in [
        (SESSION_REVOKED, json!({}), alice(), vec!["user:alice@example.com"]),
        (SESSION_REVOKED, json!({"n": 1}), device.clone(), vec!["device:device-77"]),
        (CREDENTIAL_CHANGE, json!({"change_type": "revoke"}), device.clone(), vec!["user:alice@example.com"]),
        (CREDENTIAL_CHANGE, json!({"change_type": "delete"}), alice(), vec!["user:alice@example.com"]),
        (CREDENTIAL_CHANGE, json!({"change_type": "create"}), alice(), none.to_vec()),
        (CREDENTIAL_CHANGE, json!({"change_type": "update"}), alice(), none.to_vec()),
        (
            CREDENTIAL_CHANGE,
            json!({"change_type": "revoke", "credential_type": "x509"}),
            json!({"format": "uri", "uri": format!("urn:sha256:{fingerprint}")}),
            vec![&*format!("certificate:{fingerprint}")],
        ),
        (COMPLIANCE, json!({"current_status": "not-compliant"}), device.clone(), vec!["device:device-77"]),
        (COMPLIANCE, json!({"current_status": "compliant"}), device.clone(), none.to_vec()),
        (DISABLED, json!({"reason": "hijacking"}), alice(), vec!["user:alice@example.com"]),
        (
            DISABLED,
            json!({"a": 1}),
            json!({"format": "aliases", "identifiers": [{"format": "did", "url": "did:x"}, alice()]}),
            vec!["user:alice@example.com"],
        ),
        (DISABLED, json!({}), json!({"format": "iss_sub", "iss": ISSUER, "sub": "u-1"}), vec!["user:u-1"]),
    ] {
        assert_eq!(
            bench.accepted(event, fields.clone(), subject.clone()).await,
            expected,
            "{event} {fields}"
        );
    }
}

#[tokio::test]
async fn a_revocation_says_whose_signal_it_was_and_why() {
    let bench = Bench::new().await;
    let fields = json!({"reason_admin": {"en": "Policy\nviolation"}});
    let token = bench.token(SESSION_REVOKED, fields, alice(), |claims| claims["jti"] = json!("t-1"));
    assert_eq!(bench.post(token).await.0, StatusCode::ACCEPTED);
    let orders = bench.noted.orders.lock().unwrap();
    assert_eq!(orders[0].by, "signals:idp");
    assert_eq!(orders[0].reason, "session-revoked signalled by idp: Policy violation (jti t-1)");
}

#[tokio::test]
async fn an_event_that_names_nobody_we_map_is_acknowledged_and_told() {
    let bench = Bench::new().await;
    for subject in [
        json!({"format": "email", "email": "not a user name"}),
        json!({"format": "phone_number", "phone_number": "+1"}),
        json!({"format": "iss_sub", "iss": "https://elsewhere.example", "sub": "u-1"}),
        json!({"format": "complex", "device": {"format": "opaque", "id": "77"}}),
        json!({"format": "opaque", "email": "alice@example.com"}),
        json!({}),
        json!("alice@example.com"),
        Value::Null,
    ] {
        assert_eq!(bench.accepted(SESSION_REVOKED, json!({}), subject).await, Vec::<String>::new());
    }
    assert_eq!(bench.counted("portcullis_signal_events_total", &["idp", "session-revoked", "unmapped"]), 8);
    drop(bench.routes);
    drop(bench.receiver);
    let told = std::fs::read_to_string(bench.dir.path().join("events.jsonl")).unwrap();
    assert_eq!(told.matches("control.signal_unmapped").count(), 8, "{told}");
    assert!(told.contains("elsewhere.example"), "{told}");
}

#[tokio::test]
async fn the_frameworks_own_events_and_unknown_ones_are_acknowledged() {
    let bench = Bench::new().await;
    let ssf = "https://schemas.openid.net/secevent/ssf/event-type/";
    let stream = json!({"format": "opaque", "id": "stream-1"});
    for (event, fields, kind) in [
        (format!("{ssf}verification"), json!({"state": "VGhpcyBpcw"}), "verification"),
        (format!("{ssf}stream-updated"), json!({"status": "paused", "reason": "x"}), "stream-updated"),
        ("https://vendor.example/something-else".to_owned(), json!({}), "unknown"),
    ] {
        assert_eq!(bench.accepted(&event, fields, stream.clone()).await, Vec::<String>::new());
        assert_eq!(bench.counted("portcullis_signal_events_total", &["idp", kind, "nothing"]), 1, "{kind}");
    }
    let families = bench.registry.gather();
    let enabled = families.iter().find(|family| family.name() == "portcullis_signal_stream_enabled").unwrap();
    assert!(enabled.get_metric()[0].get_gauge().get_value().abs() < 0.5);
}

#[tokio::test]
async fn a_token_that_comes_again_is_acknowledged_and_does_nothing_more() {
    let bench = Bench::new().await;
    let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
    for _ in 0..5 {
        assert_eq!(bench.post(token.clone()).await.0, StatusCode::ACCEPTED);
    }
    assert_eq!(bench.noted.orders.lock().unwrap().len(), 1);
    assert_eq!(bench.counted("portcullis_signal_tokens_total", &["idp", "replayed"]), 4);
}

#[tokio::test]
async fn a_token_that_was_taken_is_known_after_a_restart_and_when_its_transmitter_comes_back() {
    let bench = Bench::new().await;
    let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
    let idle = bench.token(COMPLIANCE, json!({"current_status": "compliant"}), alice(), |_| ());
    for token in [&token, &idle] {
        assert_eq!(bench.post(token.clone()).await.0, StatusCode::ACCEPTED);
    }
    // What withdrew nothing may come again.
    assert_eq!(bench.log.cells("signal/").await.unwrap().len(), 1);
    let again = bench.again().await;
    assert_eq!(again.post(token.clone()).await.0, StatusCode::ACCEPTED);
    assert_eq!(again.noted.orders.lock().unwrap().len(), 0);
    assert_eq!(again.counted("portcullis_signal_tokens_total", &["idp", "replayed"]), 1);
    again.receiver.put(again.receiver.prepare(&[]).unwrap());
    again.receiver.put(again.receiver.prepare(std::slice::from_ref(&again.settings)).unwrap());
    assert_eq!(again.post(token).await.0, StatusCode::ACCEPTED);
    assert_eq!(again.noted.orders.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_token_that_cannot_be_noted_is_not_acknowledged() {
    let bench = Bench::new().await;
    let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
    bench.log.fail(Some("the disk is full"));
    assert_eq!(bench.post(token.clone()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    bench.log.fail(None);
    assert_eq!(bench.post(token).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_could_not_be_written_down_is_not_acknowledged_and_may_come_again() {
    let bench = Bench::new().await;
    let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
    bench.noted.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    let (status, body) = bench.post(token.clone()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!body.to_string().contains("disk"), "{body}");
    bench.noted.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bench.post(token).await.0, StatusCode::ACCEPTED);
    assert_eq!(bench.noted.orders.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_in_order_is_refused_in_the_words_of_rfc_8935() {
    let bench = Bench::new().await;
    let now = Timestamp::now().as_second();
    let signed = |change: &dyn Fn(&mut Value)| bench.token(SESSION_REVOKED, json!({}), alice(), change);
    for (token, err) in [
        (signed(&|claims| claims["aud"] = json!("https://elsewhere.example")), "invalid_audience"),
        (signed(&|claims| claims["aud"] = json!([])), "invalid_audience"),
        (signed(&|claims| claims["iss"] = json!("https://nobody.example")), "invalid_issuer"),
        (signed(&|claims| claims["iat"] = json!(now - 3700)), "invalid_request"),
        (signed(&|claims| claims["iat"] = json!(now + 120)), "invalid_request"),
        (signed(&|claims| claims["iat"] = json!("now")), "invalid_request"),
        (signed(&|claims| claims["iat"] = json!(1e300)), "invalid_request"),
        (signed(&|claims| claims["exp"] = json!(now - 120)), "invalid_request"),
        (signed(&|claims| claims["jti"] = json!("")), "invalid_request"),
        (signed(&|claims| drop(claims.as_object_mut().unwrap().remove("jti"))), "invalid_request"),
        (signed(&|claims| drop(claims.as_object_mut().unwrap().remove("aud"))), "invalid_request"),
        (signed(&|claims| claims["events"] = json!({})), "invalid_request"),
        (signed(&|claims| claims["events"] = json!({SESSION_REVOKED: 1})), "invalid_request"),
        (signed(&|claims| claims["events"] = json!({CREDENTIAL_CHANGE: {}})), "invalid_request"),
        (signed(&|claims| claims["events"] = json!({COMPLIANCE: {"current_status": 1}})), "invalid_request"),
        (bench.issuer.sign(&json!({"iss": ISSUER}), Some("secevent+jwt")), "invalid_request"),
        (Issuer::new("key-1").sign(&json!({"iss": ISSUER}), Some("secevent+jwt")), "invalid_key"),
        (Issuer::new("key-2").sign(&json!({"iss": ISSUER}), Some("secevent+jwt")), "invalid_key"),
        ("no token".to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
        ("x".repeat(100_000), "invalid_request"),
    ] {
        let (status, body) = bench.post(token.clone()).await;
        assert_eq!((status, &body["err"]), (StatusCode::BAD_REQUEST, &json!(err)), "{body} {token:.40}");
        assert!(body["description"].is_string());
    }
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "iat": now, "jti": "t", "sub_id": alice(), "events": {SESSION_REVOKED: {}}});
    for typ in [None, Some("JWT"), Some("at+jwt")] {
        assert_eq!(bench.post(bench.issuer.sign(&claims, typ)).await.1["err"], "invalid_request", "{typ:?}");
    }
    for typ in ["application/json", "application/secevent", ""] {
        let request = Request::post("/api/v1/signals").header(header::CONTENT_TYPE, typ);
        let (status, body) = bench.send(request.body(Body::from(signed(&|_| ()))).unwrap()).await;
        assert_eq!((status, &body["err"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")), "{typ}");
    }
    assert_eq!(*bench.noted.orders.lock().unwrap(), []);
}

#[tokio::test]
async fn an_agreed_authorization_is_asked_for() {
    use sha2::Digest as _;
    let digest: [u8; 32] = sha2::Sha256::digest("Bearer secret").into();
    let bench = Bench::with(|settings| settings.authorization_sha256 = Some(digest)).await;
    for (value, expected) in [
        (None, StatusCode::BAD_REQUEST),
        (Some("Bearer other"), StatusCode::BAD_REQUEST),
        (Some("Bearer secret"), StatusCode::ACCEPTED),
    ] {
        let mut request =
            Request::post("/api/v1/signals").header(header::CONTENT_TYPE, "application/secevent+jwt");
        if let Some(value) = value {
            request = request.header(header::AUTHORIZATION, value);
        }
        let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
        let (status, body) = bench.send(request.body(Body::from(token)).unwrap()).await;
        assert_eq!(status, expected, "{value:?}");
        if status != StatusCode::ACCEPTED {
            assert_eq!(body["err"], "authentication_failed");
        }
    }
}

#[tokio::test]
async fn a_storm_is_told_to_come_again_and_nothing_of_it_is_lost() {
    let bench = Bench::with(|settings| (settings.tokens_per_second, settings.burst) = (1, 10)).await;
    let mut refused = 0;
    for number in 0..30 {
        let token = bench.token(SESSION_REVOKED, json!({"n": number}), alice(), |_| ());
        match bench.post(token).await.0 {
            StatusCode::ACCEPTED => {}
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            other => panic!("{other}"),
        }
    }
    let withdrawn = bench.noted.orders.lock().unwrap().len();
    assert!((10..=12).contains(&withdrawn), "{withdrawn}");
    assert_eq!(withdrawn + refused, 30);
    // Others' tokens, forged in the transmitter's name, take no turn of it.
    let forged = Issuer::new("key-1").sign(&json!({"iss": ISSUER}), Some("secevent+jwt"));
    assert_eq!(bench.post(forged).await.1["err"], "invalid_key");
}

#[tokio::test]
async fn a_reload_changes_what_events_do_and_keeps_what_is_remembered() {
    let bench = Bench::new().await;
    let token = bench.token(SESSION_REVOKED, json!({}), alice(), |_| ());
    assert_eq!(bench.post(token.clone()).await.0, StatusCode::ACCEPTED);
    let mut same = settings(bench.dir.path().join("keys.json").to_str().unwrap());
    bench.receiver.put(bench.receiver.prepare(std::slice::from_ref(&same)).unwrap());
    assert_eq!(bench.post(token).await.0, StatusCode::ACCEPTED);
    assert_eq!(bench.noted.orders.lock().unwrap().len(), 1);
    same.events.remove(&SignalEvent::SessionRevoked);
    bench.receiver.put(bench.receiver.prepare(std::slice::from_ref(&same)).unwrap());
    assert_eq!(bench.accepted(SESSION_REVOKED, json!({"n": 2}), alice()).await, Vec::<String>::new());
    bench.receiver.put(bench.receiver.prepare(&[]).unwrap());
    let token = bench.token(SESSION_REVOKED, json!({"n": 3}), alice(), |_| ());
    assert_eq!(bench.post(token).await.1["err"], "invalid_issuer");
}

#[tokio::test]
async fn a_signal_is_in_the_log_before_it_is_acknowledged() {
    let planes = Planes::open().await;
    let (dir, issuer) = (tempfile::tempdir().unwrap(), Issuer::new("key-1"));
    let keys = dir.path().join("keys.json");
    std::fs::write(&keys, issuer.jwks().to_string()).unwrap();
    let settings = [settings(keys.to_str().unwrap())];
    let revokes = Arc::clone(&planes.plane) as Arc<dyn Revokes>;
    let recorder = planes.recorder.clone();
    let receiver = Receiver::open(ReceiverOptions {
        settings: &settings,
        revokes,
        memory: Arc::clone(planes.plane.transport()),
        recorder,
        registry: &planes.registry,
    });
    let receiver = receiver.await.unwrap();
    let claims = json!({
        "iss": ISSUER, "aud": [AUDIENCE, "other"], "iat": Timestamp::now().as_second(), "jti": "t-1",
        "sub_id": alice(), "events": {DISABLED: {}},
    });
    let token = issuer.sign(&claims, Some("application/secevent+jwt"));
    for _ in 0..3 {
        let delivery = Delivery {
            content_type: Some("Application/SecEvent+JWT; charset=utf-8"),
            authorization: None,
            body: token.as_bytes(),
        };
        receiver.take(delivery, Timestamp::now()).await.unwrap();
    }
    planes.plane.with_state(|state| {
        let all: Vec<_> = state.revocations(0).collect();
        assert_eq!(all.len(), 1, "the same signal is one revocation");
        let (_, note) = all[0];
        assert_eq!(note.revocation.target, Target::User("alice@example.com".parse().unwrap()));
        assert_eq!(&*note.by, "signals:idp");
    });
}
