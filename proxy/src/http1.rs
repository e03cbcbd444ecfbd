//! How does an HTTP/1 connection of a device run? Head by head, each request decided on its own.
//!
//! A CONNECT ends the HTTP part of the connection for good: the raw stream moves into the tunnel's own task and this
//! one is over, so an idle tunnel holds no HTTP state. Bytes behind a CONNECT head are kept aside, bounded by the
//! head's own limit, and go through the tunnel's inspection; after a refusal they die with the connection and are
//! never read as a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use certs::VerifiedDevice;
use config::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::downstream::DeviceStream;
use crate::egress::Egress;
use crate::forward::{Http1Answer, Http1Intake, Kept};
use crate::gateway::Gateway;
use crate::handshake::DeviceConnection;
use crate::plain::{self, Exchange, PlainRequest};
use crate::record::{LiveSession, account_refused_request};
use crate::registry::Kind;
use crate::reply::{OPENED, Refusal};
use crate::request::{Request, RequestHead};
use crate::session::{Asked, Connected, admit, carry, connect};
use crate::tunnel::Downstream;

/// How long the last words of a connection may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// How much of a body that nobody wants is read for the sake of the next request, in bytes.
const DRAINED: usize = 64 * 1024;

/// How long the upstream connection of the last request is kept at hand for the next one.
const AT_HAND: Duration = Duration::from_secs(1);

type Stream = DeviceStream;

/// Serves a device's connection until it closes or becomes a tunnel.
pub async fn serve(gateway: Arc<Gateway>, connection: DeviceConnection, place: OwnedSemaphorePermit) {
    let DeviceConnection { mut stream, device, live, .. } = connection;
    let mut buffer = BytesMut::new();
    let mut kept = Kept::default();
    loop {
        let head = match read_head(&gateway, &live, &mut stream, &mut buffer, &mut kept).await {
            Ok(Some(head)) => head,
            Ok(None) => {
                if live.session().cut().is_none() {
                    kept.rest(&gateway.upstreams);
                }
                return;
            }
            Err(refusal) => return refuse(&gateway, &device, stream, &refusal).await,
        };
        let RequestHead { request, requested_agent, protocol, persistent } = head;
        match request {
            Request::Connect(destination) => {
                kept.rest(&gateway.upstreams);
                let asked = Asked {
                    device: Arc::clone(&device),
                    requested_agent,
                    destination,
                    declared_upload: None,
                };
                // The connection's own entry stays until the session has one: at no moment is the device unregistered.
                let tunnel = open_tunnel(Arc::clone(&gateway), stream, live, asked, buffer.freeze(), place);
                return Box::pin(tunnel).await;
            }
            Request::Forward(forward) => {
                let request =
                    PlainRequest { device: Arc::clone(&device), requested_agent, forward, protocol };
                let forwarded =
                    forward_one(&gateway, &mut stream, &mut buffer, request, persistent, &mut kept).await;
                match forwarded {
                    Ok(After::Next) if gateway.unavailable() != Some(Reason::Draining) => {}
                    Ok(After::Next | After::Close) => {
                        kept.rest(&gateway.upstreams);
                        let _gone = tokio::time::timeout(FAREWELL, stream.shutdown()).await;
                        return;
                    }
                    Ok(After::Abort) => return stream.abort(),
                    Ok(After::Tunnel(connected)) => {
                        tokio::spawn(carry(&gateway, stream, *connected, buffer.freeze(), place));
                        return;
                    }
                    Err(refusal) => return refuse(&gateway, &device, stream, &refusal).await,
                }
            }
        }
    }
}

/// What becomes of a connection after a plain-HTTP request.
enum After {
    Next,
    Close,
    Abort,
    Tunnel(Box<Connected>),
}

async fn forward_one(
    gateway: &Arc<Gateway>,
    stream: &mut Stream,
    buffer: &mut BytesMut,
    request: PlainRequest,
    persistent: bool,
    kept: &mut Kept<Egress>,
) -> Result<After, Refusal> {
    let (protocol, framing) = (request.protocol, request.forward.framing);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut intake = Http1Intake::new(&mut reader, buffer, framing);
    let mut answer = Http1Answer::new(&mut writer, protocol, persistent);
    match plain::run(gateway, request, &mut intake, &mut answer, kept).await? {
        Exchange::Broken => Ok(After::Abort),
        Exchange::Completed { uploaded } => {
            let drained =
                uploaded || tokio::time::timeout(FAREWELL, intake.drain(DRAINED)).await.unwrap_or(false);
            Ok(if drained && answer.persistent() { After::Next } else { After::Close })
        }
        Exchange::Switched { connected, early } => {
            let passed_on = writer.write_all(&early).await.is_ok() && writer.flush().await.is_ok();
            Ok(if passed_on { After::Tunnel(connected) } else { After::Abort })
        }
    }
}

/// Reads one head. `None` when the connection is over without an answer: closed between requests, or cut.
async fn read_head(
    gateway: &Gateway,
    connection: &LiveSession,
    stream: &mut Stream,
    buffer: &mut BytesMut,
    kept: &mut Kept<Egress>,
) -> Result<Option<RequestHead>, Refusal> {
    let deadlines = &gateway.settings.load().deadlines;
    // Between requests a connection may idle; once a head has begun it has to be complete in time.
    let mut until =
        tokio::time::Instant::now() + if buffer.is_empty() { deadlines.idle } else { deadlines.head };
    let mut begun = !buffer.is_empty();
    loop {
        if !buffer.is_empty() {
            if !begun {
                begun = true;
                until = tokio::time::Instant::now() + deadlines.head;
            }
            match RequestHead::parse(buffer, &gateway.request_rules) {
                Ok(Some((head, consumed))) => {
                    let _head = buffer.split_to(consumed);
                    return Ok(Some(head));
                }
                Ok(None) => {}
                Err(refused) => return Err(Refusal::of_request(refused.reason, Some(refused.detail))),
            }
        }
        buffer.reserve(4096);
        // What nobody asks for soon may serve another connection of the device.
        let soon = (!kept.is_empty()).then(|| tokio::time::Instant::now() + AT_HAND);
        let wait =
            tokio::time::timeout_at(soon.map_or(until, |soon| soon.min(until)), stream.read_buf(buffer));
        match connection.session().unless_cut(wait).await {
            Ok(Ok(Ok(0) | Err(_))) => return Ok(None),
            Ok(Ok(Ok(_))) => {}
            Ok(Err(_late)) if tokio::time::Instant::now() < until => kept.rest(&gateway.upstreams),
            Ok(Err(_late)) if buffer.is_empty() => return Ok(None),
            Ok(Err(_late)) => return Err(Refusal::of_request(Reason::RequestTimeout, None)),
            Err(_cut) => {
                stream.abort();
                return Ok(None);
            }
        }
    }
}

async fn open_tunnel(
    gateway: Arc<Gateway>,
    mut stream: Stream,
    connection: LiveSession,
    asked: Asked,
    early: Bytes,
    place: OwnedSemaphorePermit,
) {
    let device = Arc::clone(&asked.device);
    let opened = match admit(&gateway, Kind::Tunnel, asked) {
        Ok(admitted) => {
            drop(connection);
            connect(&gateway, admitted, None).await
        }
        Err(refusal) => Err(refusal),
    };
    let connected = match opened {
        Ok(connected) => connected,
        Err(refusal) => return refuse(&gateway, &device, stream, &refusal).await,
    };
    let session = Arc::clone(connected.opened.live.session());
    if session.unless_cut(send(&mut stream, OPENED)).await != Ok(Some(())) {
        stream.abort();
        return;
    }
    // A future of its own, so that what an idle tunnel occupies is the tunnel and not the way here.
    tokio::spawn(carry(&gateway, stream, connected, early, place));
}

/// Answers a refusal and closes. What the device still sends is read and thrown away for a moment, so that the answer is
/// not lost to a reset.
async fn refuse(gateway: &Gateway, device: &VerifiedDevice, mut stream: Stream, refusal: &Refusal) {
    tracing::debug!(reason = %refusal.reason, detail = refusal.detail, "request refused");
    account_refused_request(gateway, device, refusal);
    let farewell = async {
        send(&mut stream, &refusal.to_http1()).await?;
        stream.shutdown().await.ok()?;
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.ok()? > 0 {}
        Some(())
    };
    let _late = tokio::time::timeout(FAREWELL, farewell).await;
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}
