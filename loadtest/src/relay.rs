//! What would a proxy cost that decides nothing? A bare mTLS relay on tokio-rustls, the yardstick beside the gateway.
//!
//! It verifies the client certificate, reads a CONNECT, dials, answers and copies with two 64 KiB buffers a tunnel. Plain GET
//! requests it passes on over one upstream connection for each of its clients. It has no
//! policy, no limits, no log, no revocation, and the system's allocator: the plain design, not the fastest. It serves
//! loopback only, as a child of this program, and ends when its standard input does.

mod forward;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::deployment::Deployment;
use crate::dial;
use crate::origin::{Origin, PIECE};
use crate::process::Running;
use crate::subject::Subject;

/// What reports call it.
pub(crate) const NAME: &str = "bare relay";
/// The longest head of a CONNECT, in bytes.
const LONGEST_HEAD: usize = 4096;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Its certificate, PEM.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The authority of its clients, PEM.
    #[arg(long, value_name = "FILE")]
    device_ca: PathBuf,
    /// A name that it knows; repeatable.
    #[arg(long = "host", value_name = "NAME=ADDRESS", value_parser = host)]
    hosts: Vec<(String, Ipv4Addr)>,
    /// Lets clients resume their sessions, by one ticket a handshake.
    #[arg(long)]
    tickets: bool,
}

fn host(text: &str) -> Result<(String, Ipv4Addr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS")?;
    let address: Ipv4Addr = address.parse().map_err(|_| "expected an IPv4 address")?;
    if address.is_loopback() { Ok((name.to_owned(), address)) } else { Err("not on loopback".into()) }
}

/// Starts a relay as a child, with the certificates of a deployment. Returns where it listens.
///
/// # Errors
/// When it does not start.
pub(crate) fn start(
    deployment: &Deployment,
    origin: &Origin,
    tickets: bool,
) -> anyhow::Result<(Running, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "relay",
        "--certificate",
        "gateway.pem",
        "--key",
        "gateway.key",
        "--device-ca",
        "ca/ca.pem",
    ]);
    for (name, address) in origin.names() {
        command.arg("--host").arg(format!("{name}={address}"));
    }
    if tickets {
        command.arg("--tickets");
    }
    command.current_dir(deployment.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().context("starting the relay")?);
    let said = running.0.stdout.take().context("the relay says nothing")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    let address = line.trim().parse().context("the relay does not say where it listens")?;
    Ok((running, address))
}

/// The relay as clients of the gateway see it.
pub(crate) fn subject(gateway: &Subject, address: SocketAddr, process: u32) -> Subject {
    Subject { name: NAME.to_owned(), address, process: Some(process), ..gateway.clone() }
}

/// Serves until standard input ends.
///
/// # Errors
/// When a file or the listener cannot be used.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let tls = server_tls(arguments)?;
    let hosts: HashMap<_, _> = arguments.hosts.iter().cloned().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    runtime.spawn(serve(listener, TlsAcceptor::from(tls), Arc::new(hosts)));
    // The parent holds the other end: it goes when the parent does, however that ends.
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}

/// mTLS without a CRL: full handshakes only, unless it gives tickets.
fn server_tls(arguments: &Arguments) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&arguments.device_ca)?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_file_iter(&arguments.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key)?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    if arguments.tickets {
        tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        tls.send_tls13_tickets = 1;
    }
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, hosts: Arc<HashMap<String, Ipv4Addr>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, hosts) = (tls.clone(), Arc::clone(&hosts));
        tokio::spawn(async move {
            // Whoever drives the load sees what did not work.
            let _broken = relay(stream, &tls, &hosts).await;
        });
    }
}

async fn relay(
    stream: TcpStream,
    tls: &TlsAcceptor,
    hosts: &HashMap<String, Ipv4Addr>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut device = tls.accept(stream).await?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > LONGEST_HEAD || device.read_buf(&mut head).await? == 0 {
            bail!("no head");
        }
    };
    let early = head.split_off(end);
    if head.starts_with(b"GET http://") {
        return forward::serve(&mut device, &head, early, hosts).await;
    }
    let address = destination(&head, hosts).context("no destination")?;
    let mut upstream = dial::dial_from_anywhere(address).await?;
    upstream.write_all(&early).await?;
    device.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    device.flush().await?;
    tokio::io::copy_bidirectional_with_sizes(&mut device, &mut upstream, PIECE, PIECE).await?;
    Ok(())
}

/// The address that a CONNECT means; loopback only.
fn destination(head: &[u8], hosts: &HashMap<String, Ipv4Addr>) -> Option<SocketAddr> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    at(line.strip_prefix("CONNECT ")?.split(' ').next()?, hosts)
}

/// The address of an authority.
fn at(authority: &str, hosts: &HashMap<String, Ipv4Addr>) -> Option<SocketAddr> {
    let (name, port) = authority.rsplit_once(':')?;
    Some(SocketAddr::new((*hosts.get(name)?).into(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_dialled() {
        let hosts = HashMap::from([("o0.origin.test".to_owned(), Ipv4Addr::new(127, 0, 1, 1))]);
        let read = |head: &str| destination(head.as_bytes(), &hosts);
        let expected = SocketAddr::from(([127, 0, 1, 1], 443));
        assert_eq!(read("CONNECT o0.origin.test:443 HTTP/1.1\r\n\r\n"), Some(expected));
        for head in [
            "CONNECT example.com:443 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT o0.origin.test HTTP/1.1",
        ] {
            assert_eq!(read(head), None, "{head}");
        }
    }

    #[test]
    fn hosts_are_on_loopback() {
        assert_eq!(host("a=127.0.0.9"), Ok(("a".into(), Ipv4Addr::new(127, 0, 0, 9))));
        assert!(host("a=10.0.0.1").is_err() && host("a").is_err());
    }
}
