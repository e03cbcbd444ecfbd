//! Bulk reading under records of every size, and every way in which a device can end.

use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use certs::authority::Authority;
use proptest::prelude::*;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// How a device stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    CloseNotify,
    Fin,
    Garbage,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bulk_reading_gives_every_byte_in_order_whatever_the_records(
        records in proptest::collection::vec(1_usize..40_000, 1..20),
        piece in 1_usize..100_000,
        room in BACKLOG + 100..4 * BACKLOG,
    ) {
        let (read, end) = exchange(&records, piece, room, Stop::CloseNotify);
        prop_assert!(read == expected(&records));
        prop_assert!(end.is_ok());
    }
}

#[test]
fn only_a_close_notify_is_an_orderly_end() {
    for (stop, kind) in
        [(Stop::Fin, io::ErrorKind::UnexpectedEof), (Stop::Garbage, io::ErrorKind::InvalidData)]
    {
        let (read, end) = exchange(&[20_000, 5], 4_000, 5 * BACKLOG, stop);
        assert!(read == expected(&[20_000, 5]), "{stop:?}");
        assert_eq!(end.unwrap_err().kind(), kind, "{stop:?}");
    }
}

fn expected(records: &[usize]) -> Vec<u8> {
    records.iter().zip(0_u8..).flat_map(|(length, byte)| std::iter::repeat_n(byte, *length)).collect()
}

/// What is read in bulk when a device writes these pieces of plaintext, its encrypted bytes cut into pieces of `piece`.
fn exchange(records: &[usize], piece: usize, room: usize, stop: Stop) -> (Vec<u8>, io::Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (server, client) = configurations();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let records = records.to_vec();
        let device = tokio::spawn(async move { send(address, client, &records, piece, stop).await });
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(socket).await.unwrap();
        let (mut read, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            let filled = std::future::poll_fn(|cx| poll_fill(&mut stream, cx, &mut buffer));
            let filled = tokio::time::timeout(Duration::from_secs(20), filled).await.unwrap();
            assert!(filled.bytes > 0 || filled.end.is_some(), "ready with nothing");
            read.extend_from_slice(&buffer[..filled.bytes]);
            if let Some(end) = filled.end {
                drop(stream);
                device.await.unwrap();
                return (read, end);
            }
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a socket to the test's own listener")]
async fn send(
    address: std::net::SocketAddr,
    client: Arc<ClientConfig>,
    records: &[usize],
    piece: usize,
    stop: Stop,
) {
    let socket = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    let shaken = TlsConnector::from(client).connect("localhost".try_into().unwrap(), socket).await;
    let (mut socket, mut tls) = shaken.unwrap().into_inner();
    tls.set_buffer_limit(None);
    for (length, byte) in records.iter().zip(0_u8..) {
        tls.writer().write_all(&vec![byte; *length]).unwrap();
    }
    if stop == Stop::CloseNotify {
        tls.send_close_notify();
    }
    let mut encrypted = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut encrypted).unwrap();
    }
    if stop == Stop::Garbage {
        encrypted.extend_from_slice(&[0x17, 3, 3, 0, 32]);
        encrypted.extend_from_slice(&[7; 32]);
    }
    for piece in encrypted.chunks(piece) {
        socket.write_all(piece).await.unwrap();
    }
    socket.shutdown().await.unwrap();
    // A socket that is dropped with something unread resets, and takes with it what is still on the way.
    let _gone = socket.read_to_end(&mut Vec::new()).await;
}

/// Both sides of TLS, made once.
fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    static MADE: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    let (server, client) = MADE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let authority = Authority::init(&directory.path().join("ca"), "example.org", day).unwrap();
        let gateway = authority.issue_gateway("gw", &["localhost"], &[], day).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(gateway.chain(), gateway.key().unwrap())
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    });
    (Arc::clone(server), Arc::clone(client))
}
