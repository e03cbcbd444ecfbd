//! Gateways over TLS: frames down, reports up, and who is turned away.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use certs::authority::{Authority, Profile, Usage};
use futures_util::future::BoxFuture;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;

use super::super::link::ControlLink;
use super::super::serve::{Identify, serve_gateways};
use super::*;
use crate::log::SnapshotHead;
use crate::transport::{
    Desk, Frame, LeaseAnswer, LeaseRequest, Link as _, Report, Transport, TransportFault,
};

const HOUR: Duration = Duration::from_secs(3600);

/// Notes who says what.
#[derive(Default)]
struct Notes {
    reports: Mutex<Vec<(String, Report)>>,
    left: Mutex<Vec<String>>,
}

impl Desk for Notes {
    fn reported(&self, gateway: &str, _: u64, report: Report) {
        self.reports.lock().unwrap().push((gateway.to_owned(), report));
    }

    fn left(&self, gateway: &str, _: u64) {
        self.left.lock().unwrap().push(gateway.to_owned());
    }

    fn lease<'a>(
        &'a self,
        gateway: &'a str,
        request: LeaseRequest,
    ) -> BoxFuture<'a, Result<LeaseAnswer, TransportFault>> {
        let answer = if gateway == "gw-1" {
            Ok(LeaseAnswer { granted: Some(request.want), left: None })
        } else {
            Err(TransportFault("not you".into()))
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A control plane's end that serves, and the authority of its gateways.
struct Served {
    directory: tempfile::TempDir,
    authority: Authority,
    log: Arc<Embedded>,
    notes: Arc<Notes>,
    address: SocketAddr,
    /// The certificates that name somebody.
    names: Arc<Mutex<Vec<(CertificateDer<'static>, String)>>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::init(&directory.path().join("ca"), "a.test", HOUR).unwrap();
        let log = open(&directory.path().join("state"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let issued = authority.issue_gateway("control", &["localhost"], &[], HOUR).unwrap();
        let (chain, key) = pair(issued.certificate_pem(), issued.key_pem().unwrap());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots(&directory.path().join("ca")));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().unwrap();
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![chain], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let names: Arc<Mutex<Vec<(CertificateDer<'static>, String)>>> = Arc::default();
        let known = names.clone();
        let identify: Identify = Arc::new(move |chain| {
            let known = known.lock().unwrap();
            let name = known.iter().find(|(certificate, _)| Some(certificate) == chain.first());
            name.map(|(_, name)| name.clone()).ok_or_else(|| "nobody".to_owned())
        });
        let notes = Arc::new(Notes::default());
        let task = tokio::spawn(serve_gateways(
            log.clone(),
            listener,
            Arc::new(ArcSwap::from_pointee(tls)),
            identify,
            notes.clone(),
            std::future::pending(),
        ));
        Self { directory, authority, log, notes, address, names, task }
    }

    /// A gateway's end; with a name, the control plane knows its certificate.
    fn link(&self, name: Option<&str>) -> Arc<ControlLink> {
        Arc::new(ControlLink::new("localhost", self.address.port(), self.client(name)).unwrap())
    }

    fn client(&self, name: Option<&str>) -> Arc<ArcSwap<ClientConfig>> {
        let gateway = name.unwrap_or("unknown");
        let mut profile =
            Profile::gateway(self.authority.trust_domain(), gateway, &["gateway.test"], &[], HOUR);
        profile.usages = vec![Usage::ClientAuth];
        let issued = self.authority.issue(&profile).unwrap();
        let (chain, key) = pair(issued.certificate_pem(), issued.key_pem().unwrap());
        if let Some(name) = name {
            self.names.lock().unwrap().push((chain.clone(), name.to_owned()));
        }
        let mut config = self.builder().with_client_auth_cert(vec![chain], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(ArcSwap::from_pointee(config))
    }

    fn builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = roots(&self.directory.path().join("ca"));
        let builder = ClientConfig::builder_with_provider(provider);
        builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
    }

    fn reports_of(&self, name: &str) -> Vec<Report> {
        let reports = self.notes.reports.lock().unwrap();
        reports.iter().filter(|(gateway, _)| gateway == name).map(|(_, report)| report.clone()).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pair(certificate: &str, key: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

fn roots(authority: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(authority.join("ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    roots
}

type Seen = Arc<Mutex<Vec<(Instant, Frame)>>>;

/// Follows until it ends, and says why.
fn follow(link: &Arc<ControlLink>, hello: Report) -> (Seen, JoinHandle<TransportFault>) {
    let seen = Seen::default();
    let (frames, link) = (seen.clone(), link.clone());
    let task = tokio::spawn(async move {
        let sink = |frame| frames.lock().unwrap().push((Instant::now(), frame));
        link.follow(hello, Box::new(sink)).await
    });
    (seen, task)
}

async fn until(mut state: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if state() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the state does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_reach_a_gateway_and_its_reports_come_back() {
    let served = Served::start();
    let link = served.link(Some("gw-1"));
    let hello = Report { version: "1".into(), ..Report::default() };
    let (seen, _task) = follow(&link, hello.clone());
    until(|| served.reports_of("gw-1") == [hello.clone()]).await;
    let frames = [
        Frame::Hint(Bytes::from_static(b"{}")),
        Frame::Record(Bytes::from(vec![b'x'; 3 << 20])),
        Frame::Heartbeat(Bytes::from_static(b"{\"now\":1}")),
    ];
    for frame in &frames {
        served.log.broadcast(frame.clone());
    }
    until(|| seen.lock().unwrap().len() == 3).await;
    assert!(seen.lock().unwrap().iter().map(|(_, frame)| frame).eq(&frames));
    let second = Report { sequence: 7, ..hello };
    link.report(second.clone());
    until(|| served.reports_of("gw-1").last() == Some(&second)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_asks_for_what_it_misses_over_its_connection() {
    let served = Served::start();
    let link = served.link(Some("gw-1"));
    let start = Position::start_of(7);
    assert!(link.records(&start, 10).await.is_err(), "there is no connection yet");
    let (_seen, task) = follow(&link, Report::default());
    until(|| !served.reports_of("gw-1").is_empty()).await;
    let records = records(600);
    served.log.append_all(&records).await.unwrap();
    let page = link.records(&start, 600).await.unwrap();
    assert!(page.iter().zip(&records).all(|(read, written)| *read == written.envelope));
    assert_eq!(page.len(), 600);
    assert_eq!(link.records(&Position::start_of(8), 10).await.unwrap(), Vec::<Bytes>::new());
    assert_eq!(link.snapshot().await.unwrap(), None);
    let digest = [3; 32];
    assert_eq!(link.chunk(&digest).await.unwrap(), None);
    served.log.keep_chunk(&digest, Bytes::from(vec![9; 3 << 20])).await.unwrap();
    assert_eq!(link.chunk(&digest).await.unwrap().unwrap().len(), 3 << 20);
    let (position, at) = (records[599].position, Timestamp::now());
    let head = SnapshotHead { position, at, chunks: vec![digest] }.seal(&key("control-1"));
    served.log.keep_snapshot(head.clone(), 599).await.unwrap();
    assert_eq!(link.snapshot().await.unwrap(), Some(head));
    let request = LeaseRequest {
        device: "device-1".into(),
        agent: "agent-1".into(),
        rule: None,
        issued_at: 0,
        account: 1,
        granted: 0,
        returned: 0,
        want: 4096,
        closes: false,
    };
    assert_eq!(link.lease(request.clone()).await.unwrap().granted, Some(4096));
    let other = served.link(Some("gw-2"));
    let _other = follow(&other, Report::default());
    until(|| !served.reports_of("gw-2").is_empty()).await;
    assert!(other.lease(request).await.unwrap_err().to_string().contains("not you"));
    // With the connection goes what was asked over it.
    task.abort();
    until(|| served.notes.left.lock().unwrap().contains(&"gw-1".to_owned())).await;
    assert!(link.snapshot().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_or_one_of_nobody_gets_nothing() {
    let served = Served::start();
    let mut bare = served.builder().with_no_client_auth();
    bare.alpn_protocols = vec![b"h2".to_vec()];
    let tls = Arc::new(ArcSwap::from_pointee(bare));
    let nobody = Arc::new(ControlLink::new("localhost", served.address.port(), tls).unwrap());
    for link in [nobody, served.link(None)] {
        let (seen, task) = follow(&link, Report::default());
        tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        served.log.broadcast(Frame::Hint(Bytes::new()));
        assert!(seen.lock().unwrap().is_empty());
    }
    assert!(served.notes.reports.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_does_not_follow_who_has_not_the_authority_of_its_control_plane() {
    let (served, other) = (Served::start(), Served::start());
    let tls = other.client(Some("gw-1"));
    let link = Arc::new(ControlLink::new("localhost", served.address.port(), tls).unwrap());
    let (_seen, task) = follow(&link, Report::default());
    let fault = tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    assert!(fault.to_string().contains("no handshake"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_certificate_is_revoked_is_cut_off_while_it_follows() {
    let served = Served::start();
    let link = served.link(Some("gw-1"));
    let (_seen, task) = follow(&link, Report::default());
    until(|| !served.reports_of("gw-1").is_empty()).await;
    served.names.lock().unwrap().clear();
    tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    until(|| served.notes.left.lock().unwrap().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_reading_is_cut_and_delays_nobody() {
    let served = Served::start();
    let (good, stuck) = (served.link(Some("gw-good")), served.link(Some("gw-stuck")));
    let (seen, _task) = follow(&good, Report::default());
    // Its sink does not return: nothing more is read from its connection.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let sticks = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sink = move |_| {
                let _ = held.recv();
            };
            stuck.follow(Report::default(), Box::new(sink)).await
        })
    });
    until(|| !served.reports_of("gw-good").is_empty() && !served.reports_of("gw-stuck").is_empty()).await;
    let big = Bytes::from(vec![b'x'; 256 << 10]);
    let mut slowest = Duration::ZERO;
    for count in 1..=400 {
        let began = Instant::now();
        served.log.broadcast(Frame::Record(big.clone()));
        until(|| seen.lock().unwrap().len() == count).await;
        let (arrived, _) = seen.lock().unwrap()[count - 1].clone();
        slowest = slowest.max(arrived - began);
        if served.notes.left.lock().unwrap().contains(&"gw-stuck".to_owned()) {
            break;
        }
    }
    until(|| served.notes.left.lock().unwrap().contains(&"gw-stuck".to_owned())).await;
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(served.log.metrics.overflows.get(), 1);
    assert!(!served.notes.left.lock().unwrap().contains(&"gw-good".to_owned()));
    drop(release);
    drop(sticks.join());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_not_in_order_ends_the_connection() {
    let served = Served::start();
    let link = served.link(Some("gw-1"));
    let (_seen, task) = follow(&link, Report::default());
    until(|| !served.reports_of("gw-1").is_empty()).await;
    let huge = Report { version: "x".repeat(2 << 20), ..Report::default() };
    link.report(huge);
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    assert_eq!(served.reports_of("gw-1").len(), 1);
}
