//! One tunnel of a drill: opened through a gateway, fed a byte at a time, and watched until its socket closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::authority::Authority;
use config::{Destination, DeviceId};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Arguments;
use super::canary::AGENT;
use super::origin::Origin;
use crate::cli::exit::{During as _, Failure};

/// How often a byte is sent: what the times are exact to.
const TRICKLE: Duration = Duration::from_millis(1);
/// The pause before a gateway that does not know the manifest yet is asked again.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 << 10;
/// How long the certificate of a drill device lives.
const VALIDITY: Duration = Duration::from_secs(3600);

/// How tunnels are opened: as which device, and where to.
pub(super) struct Way {
    connector: TlsConnector,
    device: DeviceId,
    destination: Destination,
}

/// A tunnel.
pub(super) struct Session {
    gateway: String,
    number: usize,
    closed: watch::Receiver<Option<Instant>>,
}

/// How a tunnel ended, by the time since the decision.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) gateway: String,
    /// When its last byte arrived at the origin; zero when none came after the decision.
    pub(super) last_byte: Duration,
    /// When its socket was closed; absent when it was not.
    pub(super) closed: Option<Duration>,
    /// Whether it had closed before anybody decided anything.
    pub(super) early: bool,
}

impl Way {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let (device, chain, key) = match (&arguments.device_ca, &arguments.certificate) {
            (Some(directory), _) => issued(directory)?,
            (None, Some(certificate)) => {
                let (Some(device), Some(key)) = (&arguments.device, &arguments.certificate_key) else {
                    return Err(Failure::usage("--certificate needs --certificate-key and --device"));
                };
                let chain = std::fs::read(certificate).during(certificate.display())?;
                (device.clone(), chain, std::fs::read(key).during(key.display())?)
            }
            (None, None) => return Err(Failure::usage("name --device-ca or --certificate")),
        };
        let own = arguments.device_ca.as_ref().map(|directory| directory.join("ca.pem"));
        let roots = arguments.gateway_ca.clone().or(own);
        let roots = roots.ok_or_else(|| Failure::usage("name the gateways' authority with --gateway-ca"))?;
        let connector = connector(&std::fs::read(&roots).during(roots.display())?, &chain, &key)?;
        Ok(Self { connector, device, destination: arguments.destination.clone() })
    }

    pub(super) const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Opens a tunnel. `None` when the gateway denies it, as one does that has not heard of the manifest yet.
    async fn tunnel(&self, gateway: &str) -> Result<Result<TlsStream<TcpStream>, String>, Failure> {
        let host = gateway.rsplit_once(':').map_or(gateway, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::usage(format_args!("{gateway}: expected HOST:PORT")))?;
        #[expect(clippy::disallowed_methods, reason = "a drill connects to the gateways that its user names")]
        let socket = TcpStream::connect(gateway).await.during(gateway)?;
        // Every byte is to leave at once.
        let _ = socket.set_nodelay(true);
        let mut stream = self.connector.connect(name, socket).await.during(gateway)?;
        let (to, user) = (&self.destination, STANDARD.encode(format!("{AGENT}:")));
        let head =
            format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic {user}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.during(gateway)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST_HEAD {
            answer.push(stream.read_u8().await.during(gateway)?);
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.lines().next().unwrap_or_default().to_owned();
        Ok(if status.split(' ').nth(1) == Some("200") { Ok(stream) } else { Err(status) })
    }
}

fn issued(directory: &std::path::Path) -> Result<(DeviceId, Vec<u8>, Vec<u8>), Failure> {
    let name = format!("drill-{}", uuid::Uuid::now_v7().simple());
    let device: DeviceId = name.parse().map_err(Failure::new)?;
    let authority = Authority::open(directory).map_err(Failure::configuration)?;
    let issued = authority.issue_device(&device, None, VALIDITY).map_err(Failure::new)?;
    let key = issued.key_pem().unwrap_or_default().as_bytes().to_vec();
    Ok((device, issued.chain_pem().into_bytes(), key))
}

fn connector(roots_pem: &[u8], chain: &[u8], key: &[u8]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots_pem) {
        roots.add(certificate.map_err(Failure::configuration)?).map_err(Failure::configuration)?;
    }
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(Failure::configuration)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(Failure::new)?.with_root_certificates(roots);
    let config = builder.with_client_auth_cert(chain.map_err(Failure::configuration)?, key);
    let mut config = config.map_err(Failure::configuration)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Session {
    /// Opens the tunnel of this number, and begins to feed it.
    pub(super) async fn open(
        way: &Arc<Way>,
        gateway: &str,
        origin: &Origin,
        number: usize,
        until: Instant,
    ) -> Result<Self, Failure> {
        origin.expect();
        let opened = timeout_at(until.into(), async {
            loop {
                match way.tunnel(gateway).await? {
                    Ok(stream) => return Ok(stream),
                    Err(status) if Instant::now() + AGAIN >= until => {
                        return Err(Failure::new(format_args!("{gateway} opens no tunnel: {status}"))
                            .help("its events say why; does it follow this control plane?"));
                    }
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        });
        let late = || Failure::new(format_args!("{gateway} opens no tunnel in time"));
        let stream = opened.await.map_err(|_| late())??;
        let (closing, closed) = watch::channel(None);
        tokio::spawn(async move {
            feed(stream, number).await;
            closing.send_replace(Some(Instant::now()));
        });
        Ok(Self { gateway: gateway.to_owned(), number, closed })
    }

    pub(super) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Whether anything of it has arrived at the origin by then.
    pub(super) async fn arrived(&self, origin: &Origin, until: Instant) -> bool {
        while origin.last(self.number).is_none() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(TRICKLE).await;
        }
        true
    }

    /// Returns when its socket is closed.
    pub(super) async fn closed(&self) {
        // The sender goes only after it has said so.
        let _ = self.closed.clone().wait_for(Option::is_some).await;
    }

    /// How it ended; `decided` counts from the origin's start.
    pub(super) fn end(&self, decided: Duration, origin: &Origin) -> End {
        let closed = self.closed.borrow().map(|at| at.duration_since(origin.started()));
        End {
            gateway: self.gateway.clone(),
            last_byte: origin.last(self.number).unwrap_or_default().saturating_sub(decided),
            closed: closed.map(|at| at.saturating_sub(decided)),
            early: closed.is_some_and(|at| at < decided),
        }
    }
}

/// Sends a byte at a time until either direction is over.
async fn feed(stream: TlsStream<TcpStream>, number: usize) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let sending = async {
        let mut ticks = tokio::time::interval(TRICKLE);
        if writer.write_u32(number).await.is_err() {
            return;
        }
        while writer.write_all(b".").await.is_ok() && writer.flush().await.is_ok() {
            ticks.tick().await;
        }
    };
    let mut byte = [0];
    tokio::select! {
        () = sending => {}
        _ = reader.read(&mut byte) => {}
    }
}
