//! What does the demo reach? An HTTPS server of its own, with its own authority, in this process.
//!
//! It stands for the world behind the gateway: a page, a download without end, and an upload that goes nowhere. It knows
//! nothing of the gateway and trusts nobody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use certs::authority::Issued;
use futures_util::StreamExt as _;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A piece of the download, and the pause before it: a bit over 600 kB a second.
const PIECE: Bytes = Bytes::from_static(&[b'.'; 64 * 1024]);
const PAUSE: Duration = Duration::from_millis(100);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves on `listener` until the process ends, from a thread of its own.
///
/// # Errors
/// When the certificate, the listener or the thread cannot be used.
pub(super) fn start(listener: std::net::TcpListener, certificate: &Issued) -> anyhow::Result<()> {
    let key = certificate.key().ok_or_else(|| anyhow::anyhow!("the demo origin has no key"))?;
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(certificate.chain(), key)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    std::thread::Builder::new().name("demo origin".into()).spawn(move || {
        if let Err(fault) = runtime.block_on(serve(listener, Arc::new(tls))) {
            tracing::error!(%fault, "the demo origin has stopped");
        }
    })?;
    Ok(())
}

async fn serve(listener: std::net::TcpListener, tls: Arc<ServerConfig>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let (ready, streams) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(tls), ready));
    let pages = Router::new()
        .route("/", get(async || "Hello from the demo origin. The gateway let you through.\n"))
        .route("/download", get(async || download()))
        .route("/upload", post(upload));
    axum::serve(Shaken { streams, address }, pages).await
}

/// Shakes hands on a task per connection, so that a slow one holds nobody up.
async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                // Nobody receives only when the server is gone.
                let _gone = ready.send((stream, from)).await;
            }
        });
    }
}

/// Connections whose TLS handshake is done.
struct Shaken {
    streams: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Shaken {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.streams.recv().await {
            Some(shaken) => shaken,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Dots without end.
fn download() -> Body {
    Body::from_stream(futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(PAUSE).await;
        Some((Ok::<_, io::Error>(PIECE), ()))
    }))
}

async fn upload(body: Body) -> String {
    let mut pieces = body.into_data_stream();
    let mut bytes = 0_u64;
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len() as u64;
    }
    format!("The demo origin received {bytes} bytes.\n")
}
