//! Who gets in, and what the permissions of the example leave to a gateway.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use certs::authority::Authority;
use lab::nats::{Nats, NatsSettings};
use lab::pki::DAY;
use lab::wait::{PATIENCE, never_for};
use lab::{eventually, promptly};
use nkeys::KeyPair;
use policy_sync::lease::LeaseRequest;
use policy_sync::log::{Position, SnapshotHead};
use policy_sync::transport::nats::{NatsFault, NatsOptions, NatsTransport};
use policy_sync::transport::{Frame, Link as _, Report, Transport as _};
use tempfile::TempDir;

use super::setup::{EPOCH, Noting, Ring, write};

/// Certificates of one authority, in files.
pub(crate) struct Pki {
    pub(crate) dir: TempDir,
    authority: Authority,
}

impl Pki {
    pub(crate) fn found() -> Self {
        let dir = TempDir::new().unwrap();
        let authority = Authority::init(&dir.path().join("ca"), "example.com", 30 * DAY).unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let pki = Self { dir, authority };
        let ips: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
        let server = pki.authority.issue_gateway("nats-1", &["localhost"], &ips, DAY).unwrap();
        server.write(&pki.file("server.pem"), &pki.file("server.key")).unwrap();
        pki
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a client is told that shows a certificate for this name.
    pub(crate) fn options(&self, nats: &Nats, name: &str) -> NatsOptions {
        let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        if !certificate.exists() {
            let dns = format!("{name}.example.com");
            let issued = self.authority.issue_gateway(name, &[&dns], &[], DAY).unwrap();
            issued.write(&certificate, &key).unwrap();
        }
        NatsOptions {
            servers: vec![format!("tls://localhost:{}", nats.port())],
            ca: Some(self.file("ca.pem")),
            identity: Some((certificate, key)),
            ..nats.options()
        }
    }
}

/// A server with the example configuration, but for its addresses and files.
pub(crate) async fn example(pki: &Pki) -> Option<Nats> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/nats-server.conf");
    let text = std::fs::read_to_string(file).unwrap();
    let (alone, _) = text.split_once("# The cluster: leave this out").unwrap();
    let whole = alone
        .replace("0.0.0.0:4222", "127.0.0.1:{client}")
        .replace("127.0.0.1:8222", "127.0.0.1:{monitoring}")
        .replace("/var/lib/nats", "{store}")
        .replace("/etc/nats", &pki.dir.path().display().to_string());
    Nats::with(NatsSettings { whole: Some(whole), ..NatsSettings::default() }).await
}

async fn is_turned_away(options: &NatsOptions) {
    let opened = promptly("the server decides", NatsTransport::open(options)).await;
    assert!(matches!(opened, Err(NatsFault::Unreachable(_))), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_no_certificate_or_believes_another_authority_gets_no_connection() {
    let pki = Pki::found();
    let Some(nats) = example(&pki).await else { return };
    let control = pki.options(&nats, "control");
    assert!(promptly("it opens", NatsTransport::open(&control)).await.is_ok());
    // Without a certificate, with one that names no user, and with one of another authority.
    is_turned_away(&NatsOptions { identity: None, ..control.clone() }).await;
    is_turned_away(&pki.options(&nats, "stranger")).await;
    let other = Pki::found();
    let foreign = other.options(&nats, "control");
    is_turned_away(&NatsOptions { ca: control.ca.clone(), ..foreign.clone() }).await;
    // A server that another authority vouches for.
    is_turned_away(&NatsOptions { ca: foreign.ca, ..control.clone() }).await;
    // A file that is not there is said to be missing.
    let missing = NatsOptions { ca: Some(pki.file("missing.pem")), ..control };
    is_turned_away(&missing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_example_configuration_a_gateway_can_do_its_work_and_nothing_else() {
    let pki = Pki::found();
    let Some(nats) = example(&pki).await else { return };
    let ring = Ring::new();
    let transport = NatsTransport::open(&pki.options(&nats, "control")).await.unwrap();
    let desk = Noting::new();
    ring.attend(&transport, desk.clone()).await;
    let mut at = Position::start_of(EPOCH);
    for _ in 0..3 {
        write(&transport, &ring, &mut at, "one").await;
    }
    let head = SnapshotHead { position: at, at: jiff::Timestamp::now(), chunks: vec![[7; 32]] };
    transport.keep_chunk(&[7; 32], "chunk".into()).await.unwrap();
    transport.keep_snapshot(head.seal(&ring.control), 0).await.unwrap();
    transport.set_cell("proposal/secret", None, "x".into()).await.unwrap();

    // Its work: follow, read, report, ask.
    let link = ring.link(pki.options(&nats, "gw-1"), "gw-1");
    assert_eq!(promptly("records", link.records(&Position::start_of(EPOCH), 10)).await.unwrap().len(), 3);
    assert!(link.records(&at, 10).await.unwrap().is_empty());
    assert!(link.snapshot().await.unwrap().is_some());
    assert_eq!(link.chunk(&[7; 32]).await.unwrap().unwrap(), "chunk");
    let (heard, mut hears) = tokio::sync::mpsc::channel(10);
    let following = tokio::spawn({
        let link = link.clone();
        async move {
            let each = Box::new(move |frame| {
                heard.try_send(frame).expect("there is room");
            });
            link.follow(Report::default(), each).await
        }
    });
    eventually(PATIENCE, "it has reported", async || desk.reports("gw-1").pop()).await;
    transport.broadcast(Frame::Hint("hint".into()));
    assert_eq!(promptly("the hint arrives", hears.recv()).await, Some(Frame::Hint("hint".into())));
    let request = LeaseRequest {
        device: "device-1".into(),
        agent: "cowork-v1.0".into(),
        rule: None,
        issued_at: 1,
        account: 5,
        granted: 0,
        returned: 0,
        want: 5,
        closes: false,
    };
    assert!(promptly("a lease", link.lease(request)).await.is_ok());

    // And nothing else, with its own certificate.
    let options = pki.options(&nats, "gw-1");
    let (certificate, key) = options.identity.clone().unwrap();
    let rogue = async_nats::ConnectOptions::new()
        .add_root_certificates(options.ca.clone().unwrap())
        .add_client_certificate(certificate, key)
        .custom_inbox_prefix("portcullis.inbox.gw-1")
        .request_timeout(Some(Duration::from_millis(300)))
        .connect(options.servers[0].as_str())
        .await
        .unwrap();
    for subject in
        ["portcullis.log", "portcullis.live.hint", "portcullis.report.gw-2", "$KV.portcullis-snapshots.head"]
    {
        rogue.publish(subject, "forged".into()).await.unwrap();
    }
    for subject in [
        "$JS.API.DIRECT.GET.KV_portcullis-cells.$KV.portcullis-cells.proposal/secret",
        "$JS.API.STREAM.MSG.GET.KV_portcullis-cells",
        "$JS.API.STREAM.DELETE.portcullis-log",
        "$JS.API.STREAM.PURGE.portcullis-log",
        "$JS.API.CONSUMER.CREATE.portcullis-log",
    ] {
        assert!(rogue.request(subject, Bytes::new()).await.is_err(), "{subject} was answered");
    }
    never_for(Duration::from_millis(200), "a forged frame arrives", async || hears.try_recv().ok()).await;
    assert_eq!(transport.read(0, 10).await.unwrap().len(), 3);
    assert_eq!(transport.snapshot().await.unwrap(), link.snapshot().await.unwrap());
    assert!(desk.reports("gw-2").is_empty());
    following.abort();
}

/// A JWT as NATS writes them, of an operator, an account or a user.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: serde_json::Value) -> String {
    let body = serde_json::json!({
        "jti": name, "iat": jiff::Timestamp::now().as_second(), "iss": issuer.public_key(),
        "sub": subject.public_key(), "name": name, "nats": claims,
    });
    let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(body.to_string()));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A server that lets in whom an operator's account has given credentials.
pub(crate) struct Operated {
    pub(crate) nats: Nats,
    account: KeyPair,
    dir: TempDir,
}

impl Operated {
    pub(crate) async fn start() -> Option<Self> {
        let (operator, account, system) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let of_operator =
            serde_json::json!({"type": "operator", "version": 2, "system_account": system.public_key()});
        let unlimited = serde_json::json!({
            "type": "account", "version": 2,
            "limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1},
            "default_permissions": {"pub": {}, "sub": {}},
        });
        let mut of_system = unlimited.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            of_system["limits"][limit] = 0.into();
        }
        let whole = format!(
            "server_name: nats-1\nlisten: \"127.0.0.1:{{client}}\"\nhttp: \"127.0.0.1:{{monitoring}}\"\nmax_payload: 8MB\n\
             jetstream {{ store_dir: \"{{store}}\", sync_interval: always }}\n\
             operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}\n",
            jwt(&operator, &operator, "operator", of_operator),
            system.public_key(),
            system.public_key(),
            jwt(&operator, &system, "SYS", of_system),
            account.public_key(),
            jwt(&operator, &account, "PORTCULLIS", unlimited),
        );
        let nats = Nats::with(NatsSettings { whole: Some(whole), ..NatsSettings::default() }).await?;
        Some(Self { nats, account, dir: TempDir::new().unwrap() })
    }

    /// Credentials that its account gives.
    pub(crate) fn credentials(&self, name: &str) -> NatsOptions {
        self.credentials_by(&self.account, name)
    }

    fn credentials_by(&self, issuer: &KeyPair, name: &str) -> NatsOptions {
        let user = KeyPair::new_user();
        let claims = serde_json::json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(issuer, &user, name, claims),
            user.seed().unwrap()
        );
        let file = self.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        NatsOptions { credentials: Some(file), ..self.nats.options() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_an_operator_are_sent_and_those_of_another_are_turned_away() {
    let Some(server) = Operated::start().await else { return };
    let opened = promptly("it opens", NatsTransport::open(&server.credentials("control.creds"))).await;
    opened.unwrap_or_else(|fault| panic!("{fault}: {}", server.nats.log()));
    is_turned_away(&server.credentials_by(&KeyPair::new_account(), "other.creds")).await;
    is_turned_away(&server.nats.options()).await;
    let missing =
        NatsOptions { credentials: Some(server.dir.path().join("missing.creds")), ..server.nats.options() };
    let opened = NatsTransport::open(&missing).await;
    assert!(matches!(&opened, Err(NatsFault::Options(text)) if text.contains("missing.creds")), "{opened:?}");
}
