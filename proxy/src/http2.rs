//! How does an HTTP/2 connection of a device run? One session per stream, and no stream can hurt its siblings.
//!
//! The connection task only drives frames and starts a task for each request; sessions live in tasks of their own. When
//! the device itself is told to go, the connection's own registry entry falls: the device hears GOAWAY and the socket
//! is closed, whatever its streams were doing. A session that is cut alone resets its stream alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::{Request as HttpRequest, Response, StatusCode};

use certs::VerifiedDevice;

use crate::downstream::{DeviceStream, StreamTunnel};
use crate::forward::{Http2Answer, Http2Intake, Kept};
use crate::gateway::Gateway;
use crate::handshake::DeviceConnection;
use crate::plain::{self, Exchange, PlainRequest};
use crate::record::account_refused_request;
use crate::registry::Kind;
use crate::reply::Refusal;
use crate::request::{Protocol, Request, RequestHead};
use crate::session::{Asked, admit, carry, connect};

/// Bytes that a stream may have in flight towards the gateway.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that all streams of a connection may have in flight together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes per stream that wait to be sent to the device.
const SEND_BUFFER: usize = 64 * 1024;
/// Decoded header list, in bytes (RFC 9113 §6.5.2).
const HEADER_LIST: u32 = 16 * 1024;
/// Streams that a device may have reset before it is an attack (CVE-2023-44487).
const RESETS: usize = 20;
/// How long the GOAWAY of a device that is cut may take to leave.
const FAREWELL: Duration = Duration::from_millis(100);

/// Serves a device's connection until it closes, idles too long, or is cut.
pub async fn serve(gateway: Arc<Gateway>, connection: DeviceConnection) {
    let DeviceConnection { stream, device, live, .. } = connection;
    let settings = gateway.settings.load_full();
    let handshake = builder(settings.limits.http2_streams).handshake::<_, Bytes>(stream);
    let preface = tokio::time::timeout(settings.deadlines.head, handshake);
    let Ok(Ok(Ok(mut h2))) = live.session().unless_cut(preface).await else { return };
    let streams = Arc::new(AtomicUsize::new(0));
    let mut closing = false;
    loop {
        let next = next(&gateway, &mut h2, settings.deadlines.idle, closing);
        match live.session().unless_cut(next).await {
            Err(_cut) => return cut(&mut h2).await,
            Ok(Next::Closed) => return,
            Ok(Next::Stream(request, respond)) => {
                live.session().touch();
                let busy = Busy::begin(&streams);
                let (gateway, device) = (Arc::clone(&gateway), Arc::clone(&device));
                tokio::spawn(serve_stream(gateway, device, *request, respond, busy));
            }
            Ok(Next::Quiet) if streams.load(Ordering::Relaxed) > 0 => {}
            Ok(Next::Quiet) if closing => return,
            Ok(Next::Quiet | Next::Draining) => {
                closing = true;
                h2.graceful_shutdown();
            }
        }
    }
}

/// What happens next on a connection.
enum Next {
    Stream(Box<HttpRequest<RecvStream>>, SendResponse<Bytes>),
    /// No new stream for as long as a connection may idle.
    Quiet,
    Draining,
    Closed,
}

async fn next(
    gateway: &Gateway,
    h2: &mut Connection<DeviceStream, Bytes>,
    idle: Duration,
    closing: bool,
) -> Next {
    tokio::select! {
        biased;
        () = gateway.drain_begun(), if !closing => Next::Draining,
        accepted = tokio::time::timeout(idle, h2.accept()) => match accepted {
            Ok(Some(Ok((request, respond)))) => Next::Stream(Box::new(request), respond),
            Ok(Some(Err(_)) | None) => Next::Closed,
            Err(_quiet) => Next::Quiet,
        },
    }
}

fn builder(streams: u32) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_frame_size(64 * 1024)
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(1024));
    builder
}

/// GOAWAY with ENHANCE_YOUR_CALM would invite a retry; the device is not wanted, which is what NO_ERROR with no
/// accepted stream and a closed socket say.
async fn cut(h2: &mut Connection<DeviceStream, Bytes>) {
    h2.abrupt_shutdown(Code::NO_ERROR);
    let flushed = std::future::poll_fn(|cx| h2.poll_closed(cx));
    let _late = tokio::time::timeout(FAREWELL, flushed).await;
}

/// Counts a stream as busy for as long as it lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn begin(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve_stream(
    gateway: Arc<Gateway>,
    device: Arc<VerifiedDevice>,
    request: HttpRequest<RecvStream>,
    respond: SendResponse<Bytes>,
    busy: Busy,
) {
    let (parts, body) = request.into_parts();
    let head = match RequestHead::from_h2(&parts, body.is_end_stream(), &gateway.request_rules) {
        Ok(head) => head,
        Err(refused) => {
            let refusal = Refusal::of_request(refused.reason, Some(refused.detail));
            account_refused_request(&gateway, &device, &refusal);
            return refuse(respond, &refusal);
        }
    };
    let RequestHead { request, requested_agent, .. } = head;
    match request {
        Request::Connect(destination) => {
            let asked = Asked { device, requested_agent, destination, declared_upload: None };
            open_tunnel(gateway, asked, body, respond, busy).await;
        }
        Request::Forward(forward) => {
            let request = PlainRequest { device, requested_agent, forward, protocol: Protocol::Http2 };
            forward_one(&gateway, request, body, respond).await;
        }
    }
}

async fn forward_one(
    gateway: &Arc<Gateway>,
    request: PlainRequest,
    mut body: RecvStream,
    respond: SendResponse<Bytes>,
) {
    let mut answer = Http2Answer::new(respond);
    let mut kept = Kept::default();
    let done = plain::run(gateway, request, &mut Http2Intake::new(&mut body), &mut answer, &mut kept).await;
    // The next request is another stream's, and may be under way already.
    kept.rest(&gateway.upstreams);
    match done {
        Ok(Exchange::Completed { .. }) => {}
        // HTTP/2 has no switch to WebSocket here: a request for one was refused as it was read.
        Ok(Exchange::Broken | Exchange::Switched { .. }) => answer.reset(Code::INTERNAL_ERROR),
        Err(refusal) => {
            if let Some(respond) = answer.into_respond() {
                refuse(respond, &refusal);
            }
        }
    }
}

async fn open_tunnel(
    gateway: Arc<Gateway>,
    asked: Asked,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    busy: Busy,
) {
    let opened = match admit(&gateway, Kind::Tunnel, asked) {
        Ok(admitted) => unless_reset(&mut respond, connect(&gateway, admitted, None)).await,
        Err(refusal) => Some(Err(refusal)),
    };
    let connected = match opened {
        Some(Ok(connected)) => connected,
        Some(Err(refusal)) => return refuse(respond, &refusal),
        None => return,
    };
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::OK;
    let Ok(send) = respond.send_response(head, false) else { return };
    tokio::spawn(carry(&gateway, StreamTunnel::new(body, send), connected, Bytes::new(), busy));
}

/// Runs `work` unless the device resets the stream first: then nobody waits for the answer.
async fn unless_reset<T>(respond: &mut SendResponse<Bytes>, work: impl Future<Output = T>) -> Option<T> {
    let reset = std::future::poll_fn(|cx| respond.poll_reset(cx));
    tokio::select! {
        biased;
        _ = reset => None,
        done = work => Some(done),
    }
}

/// Answers a refusal on its own stream.
fn refuse(mut respond: SendResponse<Bytes>, refusal: &Refusal) {
    let (head, body) = refusal.response().into_parts();
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), false) else { return };
    // A stream that is gone needs no answer. What the device still sends on it ends when the halves are dropped.
    let _gone = stream.send_data(body, true);
}
