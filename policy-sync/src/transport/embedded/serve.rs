//! The control plane's end of the connections: accepts gateways, and speaks HTTP/2 with each.
//!
//! One request carries frames down and reports up for as long as the connection lasts; others on the same connection ask for
//! records, the snapshot, its chunks, and parts of budgets. The TLS configuration demands a certificate, and [`Identify`] says
//! whose it is: at the start, and again every few seconds, so that a gateway whose certificate is revoked is cut off. So many
//! connections, so long for a handshake. A gateway that stops reading delays itself alone.

mod requests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::Frame as BodyFrame;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Embedded, Listener, QUEUE};
use crate::transport::{Desk, Report};

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many connections are served at once; the rest wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 4096;
/// How many connections one gateway may have.
const MOST_PER_GATEWAY: usize = 8;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often it is looked at again who a gateway is.
const RECHECK: Duration = Duration::from_secs(10);
/// How long a gateway may be silent before it is asked whether it is still there, and how long it may take to answer.
const PING: Duration = Duration::from_secs(5);
/// How many requests one connection may carry at once.
const MOST_STREAMS: u32 = 32;

/// Whom a verified certificate chain, leaf first, proves: the gateway's name, or why it is nobody by now.
pub type Identify = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<String, String> + Send + Sync>;

/// Serves gateways until `shutdown` is done.
///
/// # Errors
/// When the listener cannot be used by this runtime.
pub async fn serve_gateways(
    transport: Arc<Embedded>,
    listener: std::net::TcpListener,
    tls: Arc<ArcSwap<ServerConfig>>,
    identify: Identify,
    desk: Arc<dyn Desk>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, address, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let acceptor = TlsAcceptor::from(tls.load_full());
        let (transport, identify, desk) = (transport.clone(), identify.clone(), desk.clone());
        connections.spawn(async move {
            let _place = place;
            let away = |reason| transport.metrics.turned_away.with_label_values(&[reason]).inc();
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(&transport, stream, address, &identify, desk).await,
                Ok(Err(fault)) => {
                    tracing::debug!(%address, %fault, "a gateway did not get past the handshake");
                    away("handshake");
                }
                Err(_) => away("timeout"),
            }
        });
    }
    // Dropping the set ends every connection; gateways come back to another control plane, or to this one.
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                // A hint must not wait for more to come.
                drop(stream.set_nodelay(true));
                return (stream, address, place);
            }
            Err(fault) => {
                tracing::warn!(%fault, "a connection of a gateway could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection of a gateway.
struct Connection {
    transport: Arc<Embedded>,
    desk: Arc<dyn Desk>,
    gateway: Arc<str>,
    number: u64,
    cut: Arc<Notify>,
    /// Held while the desk is told something, so that nothing is reported after the gateway has left.
    listens: Mutex<bool>,
}

async fn serve(
    transport: &Arc<Embedded>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    identify: &Identify,
    desk: Arc<dyn Desk>,
) {
    let certificates: Vec<_> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let gateway: Arc<str> = match identify(&certificates) {
        Ok(gateway) => gateway.into(),
        Err(why) => {
            tracing::warn!(%address, why, "a gateway is turned away");
            transport.metrics.turned_away.with_label_values(&["identity"]).inc();
            return;
        }
    };
    let connection = Arc::new(Connection {
        transport: transport.clone(),
        desk,
        gateway: gateway.clone(),
        number: transport.next_connection(),
        cut: Arc::new(Notify::new()),
        listens: Mutex::new(false),
    });
    let service = {
        let connection = connection.clone();
        service_fn(move |request| {
            let connection = connection.clone();
            async move { Ok::<_, Infallible>(requests::answer(&connection, request).await) }
        })
    };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let mut recheck = interval(RECHECK);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut served => return,
            () = connection.cut.notified() => return,
            _ = recheck.tick() => {
                if let Err(why) = identify(&certificates) {
                    tracing::warn!(%gateway, why, "a gateway is cut off");
                    transport.metrics.turned_away.with_label_values(&["identity"]).inc();
                    return;
                }
            }
        }
    }
}

impl Connection {
    /// Begins to send frames; `None` when the gateway has too many connections already.
    fn listen(self: &Arc<Self>) -> Option<Frames> {
        let (queue, frames) = mpsc::channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (gateway, cut) = (self.gateway.clone(), self.cut.clone());
        let listener = Listener { gateway, queue, waiting: waiting.clone(), cut };
        let mut listeners = self.transport.listeners();
        let same = listeners.values().filter(|other| other.gateway == self.gateway).count();
        if same >= MOST_PER_GATEWAY || listeners.contains_key(&self.number) {
            self.transport.metrics.turned_away.with_label_values(&["too_many"]).inc();
            return None;
        }
        listeners.insert(self.number, listener);
        *self.listens() = true;
        Some(Frames { queue: frames, waiting, connection: self.clone() })
    }

    fn listens(&self) -> MutexGuard<'_, bool> {
        self.listens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reported(&self, report: Report) {
        let listens = self.listens();
        if *listens {
            self.desk.reported(&self.gateway, self.number, report);
        }
    }
}

/// The frames for one gateway, as the body of a response. Dropping it says that the gateway has left.
struct Frames {
    queue: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    connection: Arc<Connection>,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let next = std::task::ready!(self.queue.poll_recv(context));
        if let Some(frame) = &next {
            self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
        }
        Poll::Ready(next.map(|frame| Ok(BodyFrame::data(frame))))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let Connection { transport, desk, gateway, number, .. } = &*self.connection;
        transport.listeners().remove(number);
        *self.connection.listens() = false;
        desk.left(gateway, *number);
    }
}
