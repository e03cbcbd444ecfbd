//! Who is speaking? The TLS handshake of a device, under its deadline, and the identity that its verified chain proves.
//!
//! A handshake that fails is logged with the check that failed and the subject that was shown, counted, and evented. A
//! connection that comes out of here has been verified, is registered, and its device stood in good standing at a
//! moment after it was registered. That holds for a handshake that was resumed by a ticket as for a full one: the ticket
//! spares signatures, and nothing that is asked here.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use audit::{Event, EventType};
use certs::{Possession, Refusal, RefusalObserver, Refused, VerifiedDevice};
use rustls::HandshakeKind;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use crate::authorize::check_standing;
use crate::downstream::DeviceStream;
use crate::gateway::Gateway;
use crate::record::LiveSession;
use crate::registry::{Entry, Kind};

/// The ALPN protocol of HTTP/2.
const HTTP2: &[u8] = b"h2";

/// The ALPN protocols that are offered, best first.
pub const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// What certificates and tickets leave behind for the handshake that this task drives.
#[derive(Debug, Default)]
struct Notes {
    /// What the verifier refused.
    refused: RefCell<Option<Refused>>,
    /// When the device proved that it holds its key, if a ticket says so: Unix seconds.
    since: Cell<Option<i64>>,
}

tokio::task_local! {
    static NOTES: Notes;
}

/// Remembers for the running handshake which certificate was refused, so that its subject can be named, and how old the
/// proof is that a ticket stands for, so that the tickets given out for it are not younger.
#[derive(Debug)]
pub struct HandshakeNotes;

impl RefusalObserver for HandshakeNotes {
    fn refused(&self, refused: &Refused) {
        // Outside a handshake nobody asks for the subject.
        let _outside = NOTES.try_with(|notes| *notes.refused.borrow_mut() = Some(refused.clone()));
    }
}

impl Possession for HandshakeNotes {
    fn resumed(&self, since: i64) {
        // Outside a handshake no ticket is given out.
        let _outside = NOTES.try_with(|notes| notes.since.set(Some(since)));
    }

    fn since(&self, now: i64) -> Option<i64> {
        NOTES.try_with(|notes| notes.since.get().unwrap_or(now)).ok()
    }
}

/// A device's connection after its handshake.
#[derive(Debug)]
pub struct DeviceConnection {
    /// The TLS stream.
    pub stream: DeviceStream,
    /// Who speaks on it.
    pub device: Arc<VerifiedDevice>,
    /// Its place in the registry.
    pub live: LiveSession,
    /// Whether the device chose HTTP/2.
    pub http2: bool,
}

/// Why a connection does not come out of its handshake.
struct Unshaken {
    /// One word of a closed list.
    check: &'static str,
    detail: String,
    /// Of the certificate that was shown.
    subject: Option<String>,
    fingerprint: Option<[u8; 32]>,
}

/// Completes the handshake of an accepted connection; `None` if it was refused, which has then been accounted for.
pub async fn shake(gateway: &Arc<Gateway>, socket: TcpStream, from: SocketAddr) -> Option<DeviceConnection> {
    let began = Instant::now();
    let outcome = NOTES
        .scope(Notes::default(), async {
            let outcome = attempt(gateway, socket).await;
            outcome.map_err(|unshaken| unshaken.by(NOTES.with(|notes| notes.refused.take())))
        })
        .await;
    match outcome {
        Ok(connection) => {
            gateway.metrics.handshake_seconds.observe(began.elapsed().as_secs_f64());
            gateway.metrics.handshakes.with_label_values(&["completed"]).inc();
            let kind = kind_of(&connection.stream);
            gateway.metrics.completed_handshakes.with_label_values(&[kind]).inc();
            Some(connection)
        }
        Err(unshaken) => {
            account(gateway, from, &unshaken);
            None
        }
    }
}

async fn attempt(gateway: &Arc<Gateway>, socket: TcpStream) -> Result<DeviceConnection, Unshaken> {
    let deadline = gateway.settings.load().deadlines.handshake;
    let stream = match tokio::time::timeout(deadline, accept(gateway, socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unshaken_by(&error)),
        Err(_late) => return Err(Unshaken::new("timeout", "the handshake took too long")),
    };
    let (_, connection) = stream.get_ref();
    let http2 = connection.alpn_protocol() == Some(HTTP2);
    let shown = connection.peer_certificates().unwrap_or_default();
    // A resumed handshake has not asked the verifier: the chain that its ticket holds is judged here and now.
    let device = gateway.verifier.identify(shown, gateway.clock.now());
    let device = device.map_err(|refusal| Unshaken::new(refusal.as_str(), refusal))?;
    let entry = Entry { device: Arc::clone(&device), requested_agent: None, destination: None };
    let live = LiveSession::enter(gateway, Kind::Connection, entry);
    check_standing(gateway, live.session()).map_err(|reason| Unshaken {
        subject: Some(device.subject.clone()),
        fingerprint: Some(device.leaf.fingerprint),
        ..Unshaken::new(reason.as_str(), reason.hint())
    })?;
    Ok(DeviceConnection { stream, device, live, http2 })
}

/// TLS itself. A connection takes one of the bounded turns only once its ClientHello is there: silence and trickling cost
/// others nothing. Its steps go at the gateway's pace: a flood of handshakes leaves the processor to the sessions that live.
async fn accept(gateway: &Gateway, socket: TcpStream) -> std::io::Result<DeviceStream> {
    let greeted = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    let _turn = gateway.handshakes.acquire().await.map_err(std::io::Error::other)?;
    // The answer to the ClientHello is made in the call itself, so the call belongs to the first step.
    let shaking = async { greeted.into_stream(gateway.tls.load_full()).await };
    gateway.pace.keep(shaking).await.map(Box::new)
}

/// Whether it was resumed: one word of a closed list.
fn kind_of(stream: &DeviceStream) -> &'static str {
    match stream.get_ref().1.handshake_kind() {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "full",
    }
}

impl Unshaken {
    fn new(check: &'static str, detail: impl ToString) -> Self {
        Self { check, detail: detail.to_string(), subject: None, fingerprint: None }
    }

    /// Names the certificate that the verifier refused, if it was the verifier.
    fn by(self, refused: Option<Refused>) -> Self {
        match refused {
            Some(refused) => {
                Self { subject: Some(refused.subject), fingerprint: Some(refused.fingerprint), ..self }
            }
            None => self,
        }
    }
}

fn unshaken_by(error: &std::io::Error) -> Unshaken {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls.map(|tls| (tls, Refusal::of(tls))) {
        Some((_, Some(refusal))) => Unshaken::new(refusal.as_str(), refusal),
        Some((tls, None)) => Unshaken::new("tls", tls),
        None => Unshaken::new("io", error),
    }
}

/// Says once, everywhere, that a handshake was refused.
fn account(gateway: &Gateway, from: SocketAddr, unshaken: &Unshaken) {
    let Unshaken { check, detail, subject, fingerprint } = unshaken;
    gateway.metrics.handshakes.with_label_values(&[*check]).inc();
    tracing::warn!(%from, check, subject, detail, "handshake refused");
    let mut event = Event::new(EventType::HandshakeRefused).address(from.ip());
    if let Some(fingerprint) = fingerprint {
        event = event.certificate(*fingerprint);
    }
    let subject = subject.as_deref().unwrap_or("none shown");
    gateway.recorder.record(event.detail(format_args!("{check}: {detail}; subject: {subject}")));
}
