//! Agents over real TLS sockets, against a control plane over a log in memory.
#![expect(clippy::disallowed_methods, reason = "a client of the feed on loopback, not a destination")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use certs::authority::{Authority, Issued};
use certs::{
    CRL_MAX_ENTRIES, Document, HighWater, IdentityRule, ServerCertificate, TlsVersions, Trust, TrustSettings,
    server_config,
};
use config::{AgentName, DeviceId};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::control::serve::{Bounds, serve_https};
use crate::control::testing::Planes;
use crate::target::{CertificateTarget, Target};
use crate::testing::Draft;

const HOUR: Duration = Duration::from_secs(3600);
/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

struct Site {
    planes: Planes,
    authority: Authority,
    verifier: Arc<DeviceVerifier>,
    address: SocketAddr,
    _agents: Arc<Agents>,
    _server: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let (planes, dir) = (Planes::open().await, tempfile::tempdir().unwrap());
        let authority = Authority::init(&dir.path().join("ca"), "example.org", HOUR).unwrap();
        let crl = authority.crl(HOUR).unwrap();
        let settings = TrustSettings {
            authorities: vec![Document::new("ca", authority.certificate_pem())],
            crls: vec![Document::new("crl", crl)],
            rule: IdentityRule::Spiffe(authority.trust_domain().clone()),
            crl_max_entries: CRL_MAX_ENTRIES,
        };
        let trust = Trust::load(&settings, &HighWater::default(), Timestamp::now().as_second()).unwrap();
        let verifier = Arc::new(DeviceVerifier::new(trust, None));
        let issued = authority.issue_gateway("control", &["localhost"], &[], HOUR).unwrap();
        let certificate = ServerCertificate::new(vec![leaf(&issued)], secret(&issued)).unwrap();
        let tls = server_config(
            &certificate,
            Arc::clone(&verifier),
            TlsVersions::Tls13,
            &[b"h2", b"http/1.1"],
            None,
            None,
        )
        .unwrap();
        let agents =
            Agents::open(Arc::clone(&planes.plane), Arc::clone(&verifier), &planes.registry).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, router) = (listener.local_addr().unwrap(), agents.routes());
        let _server = tokio::spawn(async move {
            let tls = Arc::new(ArcSwap::new(tls));
            serve_https(listener, tls, router, Bounds::default(), std::future::pending()).await.unwrap();
        });
        Self { planes, authority, verifier, address, _agents: agents, _server, _dir: dir }
    }

    fn device(&self, name: &str, agent: Option<&str>) -> Device {
        let (device, agent): (DeviceId, Option<AgentName>) =
            (name.parse().unwrap(), agent.map(|agent| agent.parse().unwrap()));
        let issued = self.authority.issue_device(&device, agent.as_ref(), HOUR).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf(&issued)], secret(&issued))
            .unwrap();
        let fingerprint = issued.fingerprint();
        Device { connector: TlsConnector::from(Arc::new(config)), address: self.address, fingerprint }
    }

    async fn manifest(&self, id: &str, device: &str, agent: &str, user: &str) {
        let more =
            format!(r#","sessions":{}"#, self.planes.plane.with_state(|state| state.position().sequence) + 1);
        self.planes.submit(&Draft { id, device, agent, user, more: &more, ..Draft::default() }).await;
    }
}

fn leaf(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes()).unwrap()
}

fn secret(issued: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(issued.key_pem().unwrap().as_bytes()).unwrap()
}

#[derive(Clone)]
struct Device {
    connector: TlsConnector,
    address: SocketAddr,
    fingerprint: [u8; 32],
}

struct Connection {
    reader: BufReader<TlsStream<TcpStream>>,
    status: u16,
}

/// One event, as a client sees it.
#[derive(Debug)]
struct Told {
    id: Option<String>,
    event: String,
    data: Value,
}

impl Device {
    async fn get(&self, path: &str, more: &str) -> Connection {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = self.connector.connect(name, socket).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut connection = Connection { reader: BufReader::new(stream), status: 0 };
        let first = connection.line().await.expect("an answer");
        connection.status = first.split(' ').nth(1).unwrap().parse().unwrap();
        while connection.line().await.is_some_and(|line| !line.is_empty()) {}
        connection
    }

    async fn follow(&self) -> Connection {
        let connection = self.get("/api/v1/agents/self/events", "").await;
        assert_eq!(connection.status, 200);
        connection
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let mut connection = self.get(path, "Connection: close\r\n").await;
        let body = connection.line().await.unwrap_or_default();
        (connection.status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

impl Connection {
    /// `None` at the end of the connection.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.reader.read_line(&mut line)).await.expect("in time");
        if read.unwrap_or(0) == 0 { None } else { Some(line.trim_end().to_owned()) }
    }

    /// The next event; lines of chunks and comments are passed over.
    async fn next(&mut self) -> Option<Told> {
        let (mut id, mut event) = (None, String::new());
        loop {
            let line = self.line().await?;
            if line == "0" {
                // The last chunk: the stream is over, whatever becomes of the connection.
                return None;
            }
            if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut event);
            } else if let Some(value) = line.strip_prefix("data: ") {
                return Some(Told { id, event, data: serde_json::from_str(value).unwrap() });
            }
        }
    }

    async fn expect(&mut self, event: &str, standing: &str) -> Told {
        let told = self.next().await.expect("another event");
        assert_eq!((told.event.as_str(), &told.data["standing"]), (event, &json!(standing)), "{told:?}");
        told
    }
}

fn device(name: &str) -> Target {
    Target::Device(name.parse().unwrap())
}

#[tokio::test]
async fn an_agent_is_told_how_it_stands_and_whatever_changes() {
    let site = Site::start().await;
    let mut stream = site.device("device-1", None).follow().await;
    let told = stream.expect("standing", "no_manifest").await;
    assert_eq!((&told.data["device"], &told.data["manifest"]), (&json!("device-1"), &Value::Null));

    site.manifest("cm-1", "device-1", "agent-1", "alice").await;
    let told = stream.expect("manifest", "live").await;
    assert_eq!(
        (&told.data["manifest"]["id"], &told.data["manifest"]["user"]),
        (&json!("cm-1"), &json!("alice"))
    );
    // A user whom the agent came to have only now concerns it from now on.
    let user = site.planes.revoke(Target::User("alice".parse().unwrap())).await;
    let told = stream.expect("revoked", "user_revoked").await;
    assert_eq!(told.data["revocation"]["reason"], "user_revoked");
    assert!(!told.data.to_string().contains("test"), "the words of the reason stay where they are: {told:?}");
    site.planes.plane.lift(user, None, "again", "tester").await.unwrap();
    stream.expect("lifted", "live").await;
    let agent = site.planes.revoke(Target::Agent("agent-1".parse().unwrap())).await;
    stream.expect("revoked", "agent_revoked").await;
    site.planes.plane.lift(agent, None, "again", "tester").await.unwrap();
    stream.expect("lifted", "live").await;
    let all = site.planes.revoke(Target::All).await;
    stream.expect("revoked", "all_revoked").await;
    site.planes.plane.lift(all, None, "again", "tester").await.unwrap();
    stream.expect("lifted", "live").await;

    let later = Timestamp::now() + jiff::SignedDuration::from_secs(2);
    site.planes.submit_issued(&Draft { id: "cm-2", ..Draft::default() }, later).await;
    let told = stream.expect("superseded", "live").await;
    assert_eq!((&told.data["superseded"], &told.data["manifest"]["id"]), (&json!("cm-1"), &json!("cm-2")));
    stream.expect("manifest", "live").await;
    site.planes.revoke(Target::Manifest("cm-2".parse().unwrap())).await;
    let told = stream.expect("revoked", "manifest_revoked").await;
    assert_eq!(told.data["revocation"]["reason"], "manifest_revoked");
    let digest = site
        .planes
        .plane
        .with_state(|state| state.policy().manifest(&"cm-2".parse().unwrap()).unwrap().digest);
    let withdrawal = crate::log::Entry::Withdrawal { id: "cm-2".parse().unwrap(), digest };
    site.planes.plane.submit(withdrawal, "tester").await.unwrap();
    let told = stream.expect("withdrawn", "no_manifest").await;
    assert_eq!(told.data["withdrawn"], "cm-2");
}

#[tokio::test]
async fn the_end_of_a_manifests_life_is_told_when_it_comes() {
    let site = Site::start().await;
    site.planes.submit(&Draft { ttl: 2, ..Draft::default() }).await;
    let mut stream = site.device("device-1", None).follow().await;
    stream.expect("standing", "live").await;
    let told = stream.expect("expired", "manifest_expired").await;
    assert_eq!(told.data["expired"], "cm-1");
}

#[tokio::test]
async fn of_many_idle_agents_only_those_concerned_are_told_and_they_at_once() {
    const DEVICES: usize = 24;
    const EACH: usize = 10;
    let site = Site::start().await;
    let mut streams = Vec::new();
    for number in 0..DEVICES {
        let name = format!("device-{number}");
        site.manifest(&format!("cm-{number}"), &name, "agent-1", "alice").await;
        let holder = site.device(&name, None);
        for _ in 0..EACH {
            let mut stream = holder.follow().await;
            stream.expect("standing", "live").await;
            streams.push((number, stream));
        }
    }
    let began = Instant::now();
    site.planes.revoke(device("device-7")).await;
    for (_, stream) in streams.iter_mut().filter(|(number, _)| *number == 7) {
        stream.expect("revoked", "device_revoked").await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    // What the others hear next is what concerns everybody: nothing came before it.
    site.planes.revoke(Target::All).await;
    for (_, stream) in &mut streams {
        let told = stream.next().await.unwrap();
        assert_eq!(told.data["revocation"]["reason"], "all_revoked");
    }
    eprintln!("{EACH} of {} streams told within {took:?}", DEVICES * EACH);
}

#[tokio::test]
async fn a_client_that_comes_back_is_told_what_it_missed() {
    let site = Site::start().await;
    site.manifest("cm-1", "device-1", "agent-1", "alice").await;
    let holder = site.device("device-1", None);
    let mut stream = holder.follow().await;
    let id = stream.expect("standing", "live").await.id.expect("an id");
    drop(stream);
    site.planes.revoke(device("device-2")).await;
    site.planes.revoke(Target::User("alice".parse().unwrap())).await;
    site.planes.revoke(device("device-1")).await;
    let resume = |id: &str| format!("Last-Event-ID: {id}\r\n");
    let path = "/api/v1/agents/self/events";
    let mut stream = holder.get(path, &resume(&id)).await;
    assert_eq!(stream.expect("standing", "device_revoked").await.id, None);
    let first = stream.expect("revoked", "device_revoked").await;
    assert_eq!(first.data["revocation"]["reason"], "user_revoked");
    let second = stream.expect("revoked", "device_revoked").await;
    assert_eq!(second.data["revocation"]["reason"], "device_revoked");
    let position = site.planes.plane.with_state(|state| state.position());
    assert_eq!(second.id.unwrap(), format!("{}-{}", position.epoch, position.sequence));
    let mut stream = holder.get(path, &resume(&first.id.unwrap())).await;
    stream.expect("standing", "device_revoked").await;
    assert_eq!(
        stream.expect("revoked", "device_revoked").await.data["revocation"]["reason"],
        "device_revoked"
    );
    // An id of another log, or of nothing, is no place to go on from.
    for id in ["1-1", "", "-", "x-y", &format!("{}-{}", position.epoch, position.sequence + 9)] {
        let mut stream = holder.get(path, &resume(id)).await;
        assert!(stream.expect("standing", "device_revoked").await.id.is_some(), "{id}");
    }
}

#[tokio::test]
async fn an_agent_reads_its_own_manifest_and_no_other() {
    let site = Site::start().await;
    site.manifest("cm-1", "device-1", "agent-1", "alice").await;
    site.manifest("cm-2", "device-1", "agent-2", "alice").await;
    site.manifest("cm-3", "device-2", "agent-1", "bob").await;
    let (path, holder) = ("/api/v1/agents/self/manifest", site.device("device-1", None));
    for (query, standing, manifest) in [
        ("?agent=agent-1", "live", json!("cm-1")),
        ("?agent=agent-2", "live", json!("cm-2")),
        ("?agent=agent-3", "no_manifest", Value::Null),
        ("", "manifest_required", Value::Null),
    ] {
        let (status, body) = holder.json(&format!("{path}{query}")).await;
        assert_eq!((status, &body["standing"]), (200, &json!(standing)), "{body}");
        assert_eq!(body["manifest"]["id"], manifest, "{body}");
        assert_eq!(body["envelope"]["payloadType"].is_string(), manifest.is_string(), "{body}");
        assert!(!body.to_string().contains("bob"));
    }
    for query in ["?device=device-2", "?agent=", "?agent=a%20b", "?agent=agent-1&x=y"] {
        assert_eq!(holder.json(&format!("{path}{query}")).await.0, 400, "{query}");
    }
    let bound = site.device("device-1", Some("agent-2"));
    assert_eq!(bound.json(path).await.1["manifest"]["id"], "cm-2");
    let (status, body) = bound.json(&format!("{path}?agent=agent-1")).await;
    assert_eq!((status, &body["error"]), (403, &json!("other_agent")));
    // Who is revoked may still know it.
    site.planes.revoke(device("device-1")).await;
    let (status, body) = bound.json(path).await;
    assert_eq!((status, &body["standing"]), (200, &json!("device_revoked")));
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_streams_and_opens_no_other() {
    let site = Site::start().await;
    site.manifest("cm-1", "device-1", "agent-1", "alice").await;
    let (lost, other) = (site.device("device-1", None), site.device("device-1", None));
    let (mut lost_stream, mut other_stream) = (lost.follow().await, other.follow().await);
    lost_stream.expect("standing", "live").await;
    other_stream.expect("standing", "live").await;
    site.planes.revoke(Target::Certificate(CertificateTarget::Fingerprint(lost.fingerprint))).await;
    lost_stream.expect("revoked", "certificate_revoked").await;
    assert!(lost_stream.next().await.is_none(), "the stream has ended");
    let (status, body) = lost.json("/api/v1/agents/self/manifest").await;
    assert_eq!((status, &body["error"]), (403, &json!("certificate_revoked")));
    assert_eq!(lost.get("/api/v1/agents/self/events", "").await.status, 403);
    assert_eq!(other.json("/api/v1/agents/self/manifest").await.1["standing"], "live");
    site.planes.revoke(device("device-1")).await;
    other_stream.expect("revoked", "device_revoked").await;

    // One on a CRL does not get past the handshake, and nothing is said to whoever holds it.
    let serial: DeviceId = "device-1".parse().unwrap();
    site.authority.revoke(certs::authority::Revocable::Device(&serial)).unwrap();
    let crl = Document::new("crl", site.authority.crl(HOUR).unwrap());
    let update = site.verifier.add_crls(&[crl], Timestamp::now().as_second());
    assert_eq!(update.refused.len(), 0);
    let socket = TcpStream::connect(site.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let refused = match other.connector.connect(name, socket).await {
        Ok(mut stream) => {
            let mut bytes = Vec::new();
            let _ = stream.write_all(b"GET /api/v1/agents/self/manifest HTTP/1.1\r\nHost: x\r\n\r\n").await;
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.is_err() || bytes.is_empty()
        }
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_device_has_so_many_streams_and_no_more() {
    let site = Site::start().await;
    let holder = site.device("device-1", None);
    let mut open = Vec::new();
    for _ in 0..places::MOST {
        open.push(holder.follow().await);
    }
    let turned = holder.get("/api/v1/agents/self/events", "").await;
    assert_eq!(turned.status, 429);
    site.device("device-2", None).follow().await;
    open.pop();
    let began = Instant::now();
    while holder.get("/api/v1/agents/self/events", "").await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "the place is free again");
        tokio::task::yield_now().await;
    }
}
