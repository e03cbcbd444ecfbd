//! The accept loop over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use axum::Extension;
use axum::routing::get;
use certs::authority::Authority;
use certs::{ServerCertificate, TlsVersions, server_config_without_device_authentication};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::oneshot;

use super::*;

struct Served {
    address: SocketAddr,
    roots: Arc<rustls::RootCertStore>,
    end: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Served {
    fn start(bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let authority = Authority::init(dir.path(), "control.test", hour).unwrap();
        let issued = authority.issue_gateway("control", &["localhost"], &[], hour).unwrap();
        let chain = CertificateDer::from_pem_slice(issued.certificate_pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem().unwrap().as_bytes()).unwrap();
        let certificate = ServerCertificate::new(vec![chain], key).unwrap();
        let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let tls =
            server_config_without_device_authentication(&certificate, TlsVersions::Tls13, &alpn).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let ca = std::fs::read(dir.path().join("ca.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async |peer: Extension<Peer>| peer.address.to_string()));
        let (end, ended) = oneshot::channel();
        let tls = Arc::new(ArcSwap::new(tls));
        let task = tokio::spawn(serve_https(listener, tls, router, bounds, async {
            let _ = ended.await;
        }));
        Self { address, roots: Arc::new(roots), end: Some(end), task }
    }

    fn connect(&self, alpn: &str) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let name = "localhost".try_into().unwrap();
        let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = self.plain();
        rustls::StreamOwned::new(tls, stream)
    }

    #[expect(clippy::disallowed_methods, reason = "a test that is its own client")]
    fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

fn read_to_end(mut from: impl io::Read) -> String {
    let mut bytes = Vec::new();
    // A peer that closes without a word is an end too.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_and_told_who_sent_it() {
    let served = Served::start(Bounds::default());
    let mut stream = served.connect("http/1.1");
    let from = stream.sock.local_addr().unwrap().to_string();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let answer = read_to_end(stream);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&from), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_to_whoever_offers_it() {
    let served = Served::start(Bounds::default());
    let mut stream = served.connect("h2");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS: {head:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dawdles_is_dropped() {
    let short = Duration::from_millis(100);
    let served = Served::start(Bounds { handshake: short, head: short, ..Bounds::default() });
    // No handshake at all; then no head.
    let began = Instant::now();
    assert_eq!(read_to_end(served.plain()), "");
    let mut stream = served.connect("http/1.1");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    let _ = read_to_end(stream);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let served = Served::start(Bounds { connections: 1, ..Bounds::default() });
    let mut first = served.connect("http/1.1");
    first.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();
    let mut second = served.connect("http/1.1");
    second.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let waits = second.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(waits.and_then(|()| second.read_exact(&mut byte)).is_err(), "the second has no place yet");
    drop(first);
    second.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = second.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(read_to_end(second).starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_requests_in_progress_only() {
    let mut served = Served::start(Bounds::default());
    let mut idle = served.connect("http/1.1");
    idle.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut byte = [0];
    idle.read_exact(&mut byte).unwrap();
    served.end.take().unwrap().send(()).unwrap();
    let ended = timeout(Duration::from_secs(4), served.task).await.expect("it ends before the deadline");
    ended.unwrap().unwrap();
}
