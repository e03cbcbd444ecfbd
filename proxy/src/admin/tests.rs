//! The admin listener through real sockets, in front of a gateway without traffic.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use certs::VerifiedDevice;
use certs::authority::Authority;
use config::{Destination, GatewaySettings, Reason, Source};
use serde_json::Value;

use super::*;
use crate::registry::{Entry, Kind, SessionGuard};

const DAY: Duration = Duration::from_secs(86_400);

/// A gateway whose files are in `directory`, with no policy at all.
pub(crate) fn gateway(directory: &Path) -> Arc<Gateway> {
    let authority = Authority::init(&directory.join("ca"), "example.org", DAY).unwrap();
    let issued = authority.issue_gateway("gw", &["localhost"], &[], DAY).unwrap();
    issued.write(&directory.join("gateway.pem"), &directory.join("gateway.key")).unwrap();
    std::fs::create_dir_all(directory.join("state")).unwrap();
    let settings = "gateway = { name = \"gw\", state_dir = \"state\" }\n\
                    listen = { device = [\"127.0.0.1:0\"], admin = \"127.0.0.1:0\" }\n\
                    tls = { certificate = \"gateway.pem\", key = \"gateway.key\" }\n\
                    trust = { device_ca = [\"ca/ca.pem\"], trust_domain = \"example.org\" }\n\
                    policy = { source = \"dir:policy\", keys = \"keys.toml\" }\n";
    let source = Source::new(directory.join("gateway.toml").to_string_lossy(), settings);
    let settings = GatewaySettings::read(&source).unwrap_or_else(|problems| panic!("{problems}"));
    crate::assemble::assemble(settings, &[]).unwrap()
}

/// Serves `gateway` while `work` runs on a thread of its own with the listener's address.
fn while_served<T: Send + 'static>(
    gateway: &Arc<Gateway>,
    work: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let worker = tokio::task::spawn_blocking(move || work(address));
        let server = tokio::spawn(serve(listener, Arc::clone(gateway), std::future::pending()));
        let outcome = worker.await.unwrap();
        server.abort();
        outcome
    })
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:?}: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// Enters a session of `device`; it lives as long as the guard.
pub(crate) fn session(gateway: &Arc<Gateway>, device: &str) -> SessionGuard {
    let device = VerifiedDevice {
        device: device.parse().unwrap(),
        agent: None,
        leaf: certificate(),
        chain: vec![certificate()],
        issuer_keys: vec![[4; 32]],
        not_after: i64::MAX,
        subject: String::new(),
    };
    let destination = Destination::parse_authority(b"a.example:443").ok();
    gateway
        .registry
        .enter(Kind::Tunnel, Entry { device: Arc::new(device), requested_agent: None, destination })
}

fn certificate() -> certs::CertificateId {
    certs::CertificateId { fingerprint: [1; 32], issuer: [2].into(), serial: [3].into() }
}

#[test]
fn every_path_answers_and_says_nothing_may_be_kept_or_framed() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway(directory.path());
    while_served(&gateway, |address| {
        for (path, status, says) in [
            ("/", 200, "policy revision"),
            ("/livez", 200, "alive"),
            ("/readyz", 503, "no_policy"),
            ("/metrics", 200, "portcullis_build_info"),
            ("/sessions", 200, "{\"sessions\":[]}"),
            ("/policy", 200, "\"manifests\":[]"),
            ("/explain?device=d&destination=a.example:443", 200, "no_manifest"),
            ("/explain?device=d", 400, "destination is missing"),
            ("/explain?device=%ff", 400, "malformed_query"),
            ("/secret", 404, "not_found"),
            ("/sessions/x/cut", 405, "method_not_allowed"),
        ] {
            let answer = get(address, path);
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert!(answer.body.contains(says), "{path}: {answer:?}");
            for field in
                ["cache-control: no-store", "x-content-type-options: nosniff", "content-security-policy: "]
            {
                assert!(answer.head.contains(field), "{path}: {answer:?}");
            }
            assert!(!answer.head.contains("access-control-"), "{path}: {answer:?}");
        }
    });
}

#[test]
fn requests_for_other_hosts_and_from_other_origins_are_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway(directory.path());
    while_served(&gateway, |address| {
        let port = address.port();
        for (line, fields, status) in [
            ("GET /sessions", format!("Host: evil.com:{port}"), 421),
            ("GET /sessions", format!("Host: 127.0.0.1.evil.com:{port}"), 421),
            ("GET /sessions", format!("Host: localhost:{port}"), 200),
            ("GET /sessions", String::from("X: y"), 400),
            ("GET /sessions", format!("Host: {address}\r\nHost: {address}"), 400),
            ("GET /sessions", format!("Host: {address}\r\nOrigin: http://evil.com"), 403),
            ("GET /sessions", format!("Host: {address}\r\nOrigin: null"), 403),
            ("GET /sessions", format!("Host: {address}\r\nSec-Fetch-Site: cross-site"), 403),
            ("GET http://evil.com/sessions", format!("Host: {address}"), 421),
            ("CONNECT 127.0.0.1:22", format!("Host: {address}"), 421),
            ("OPTIONS /sessions", format!("Host: {address}\r\nOrigin: http://evil.com"), 403),
            ("GET /evil-echo", format!("Host: {address}"), 404),
        ] {
            let answer = ask(address, &format!("{line} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n"));
            assert_eq!(answer.status, status, "{line} {fields}: {answer:?}");
            assert!(!answer.body.contains("evil"), "an answer repeats the request: {answer:?}");
        }
    });
}

#[test]
fn cutting_a_session_needs_a_request_that_no_foreign_page_can_make() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway(directory.path());
    let live = session(&gateway, "device-1");
    let other = session(&gateway, "device-2");
    let id = live.session().id;
    let refused = while_served(&gateway, move |address| {
        let post = |path: &str, fields: &str| {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            );
            ask(address, &request).status
        };
        let path = format!("/sessions/{id}/cut");
        [
            get(address, &path).status,
            post(&path, ""),
            post(&path, "Content-Type: text/plain\r\n"),
            post(&path, "Content-Type: application/json\r\nOrigin: http://evil.com\r\n"),
            post("/sessions/nonsense/cut", "Content-Type: application/json\r\n"),
            post(&format!("/sessions/{}/cut", uuid::Uuid::nil()), "Content-Type: application/json\r\n"),
        ]
    });
    assert_eq!(refused, [405, 415, 415, 403, 404, 404]);
    assert_eq!(live.session().cut(), None);
    let cut = while_served(&gateway, move |address| {
        let request = format!(
            "POST /sessions/{id}/cut HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        ask(address, &request)
    });
    assert_eq!(cut.status, 200, "{cut:?}");
    assert_eq!(serde_json::from_str::<Cut>(&cut.body).unwrap().sessions_cut, 1);
    assert_eq!(live.session().cut(), Some(Reason::OperatorCut));
    assert_eq!(other.session().cut(), None);
}

#[test]
fn sessions_are_listed_and_mere_connections_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = gateway(directory.path());
    let live = session(&gateway, "device-1");
    let entry =
        Entry { device: Arc::clone(&live.session().device), requested_agent: None, destination: None };
    let _connection = gateway.registry.enter(Kind::Connection, entry);
    let listed = while_served(&gateway, |address| get(address, "/sessions"));
    let listed: Value = serde_json::from_str(&listed.body).unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{listed}");
    assert_eq!(sessions[0]["session"], live.session().id.to_string());
    assert_eq!(sessions[0]["device"], "device-1");
    assert_eq!(sessions[0]["destination"], "a.example:443");
}
