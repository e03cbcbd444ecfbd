//! How does a control plane serve HTTPS? An accept loop with bounds in front of a router.
//!
//! So many connections, so long for a handshake, so long for a head, so long for a connection altogether; HTTP/1.1 and
//! HTTP/2 by ALPN. Each request is told who sent it: [`Peer`]. Whether a client certificate is asked for is for the TLS
//! configuration to say, which is read anew for every connection, so that a reload needs no new listener. Knows nothing of
//! what is served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service as _;

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 << 10;
/// How many requests one HTTP/2 connection may carry at once.
const MOST_STREAMS: u32 = 64;

/// What bounds a listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many connections are served at once; the rest wait in the kernel's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of a request may take, and how long a connection may idle before the next.
    pub head: Duration,
    /// How long one connection may last before it is ended in good order.
    pub connection: Duration,
    /// How long requests in progress may take to end when the listener ends.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(15),
            connection: Duration::from_secs(600),
            drain: Duration::from_secs(5),
        }
    }
}

/// Who has sent a request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// The certificates it presented and that the TLS configuration accepted, its own first; empty when none were asked for.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

/// Serves `router` over TLS until `shutdown` is done and the requests in progress are answered.
///
/// # Errors
/// When the listener cannot be used by this runtime.
pub async fn serve_https(
    listener: std::net::TcpListener,
    tls: Arc<ArcSwap<ServerConfig>>,
    router: Router,
    bounds: Bounds,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(bounds.connections));
    let (ending, ended) = watch::channel(false);
    tokio::pin!(shutdown);
    loop {
        let (stream, address, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let served = Connection { router: router.clone(), bounds, ended: ended.clone() };
        let acceptor = TlsAcceptor::from(tls.load_full());
        tokio::spawn(async move {
            let _place = place;
            // Whoever does not finish a handshake is nobody; there is nothing to tell and nobody to tell it to.
            if let Ok(Ok(stream)) = timeout(bounds.handshake, acceptor.accept(stream)).await {
                served.run(stream, address).await;
            }
        });
    }
    drop(listener);
    let _ = ending.send(true);
    // Each connection holds a place: when all can be had, all are gone.
    let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
    let _ = timeout(bounds.drain, places.acquire_many(all)).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    loop {
        let place = Arc::clone(places).acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are small and somebody waits for them.
                let _ = stream.set_nodelay(true);
                return (stream, address, place);
            }
            Err(fault) => {
                tracing::warn!(%fault, "a listener of the control plane cannot accept; pausing");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    router: Router,
    bounds: Bounds,
    ended: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TlsStream<TcpStream>, address: SocketAddr) {
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates = presented.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let peer = Peer { address, certificates };
        let router = self.router;
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request.map(Body::new))
        });
        let builder = builder(self.bounds);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let over = async {
            tokio::select! {
                () = sleep(self.bounds.connection) => {}
                _ = self.ended.wait_for(|ended| *ended) => {}
            }
        };
        tokio::select! {
            // A fault of a connection is its peer's.
            _ = connection.as_mut() => return,
            () = over => connection.as_mut().graceful_shutdown(),
        }
        let _ = timeout(self.bounds.drain, connection).await;
    }
}

fn builder(bounds: Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head).max_buf_size(LARGEST_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.head)
        .keep_alive_timeout(bounds.head)
        .max_header_list_size(16 << 10)
        .max_concurrent_streams(MOST_STREAMS);
    builder
}

#[cfg(test)]
mod tests;
