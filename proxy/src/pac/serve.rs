//! How long, and to how many at once, does the PAC listener talk? Accepting, TLS and deadlines.
//!
//! Its clients are not authenticated, so everything about them is bounded: how many are served at once, and for how
//! long each. Nothing here can slow a device's session down but the descriptors it holds, and those are few.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::Pac;
use super::exchange::{self, Asked, LONGEST_HEAD};

/// How many clients are served at once; the rest wait in the kernel's queue.
const MOST_CLIENTS: usize = 128;
/// From accept to the last byte of the answer.
const WHOLE_EXCHANGE: Duration = Duration::from_secs(10);
/// The pause after a failed accept: out of descriptors, most often.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the PAC file until `shutdown` is done.
///
/// # Errors
/// When the listener cannot be used by this runtime. What goes wrong with one client ends with that client.
pub async fn serve(
    listener: std::net::TcpListener,
    pac: Arc<Pac>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    tokio::select! {
        () = shutdown => Ok(()),
        never = accept(&listener, &pac) => match never {},
    }
}

async fn accept(listener: &TcpListener, pac: &Arc<Pac>) -> std::convert::Infallible {
    let clients = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        let place = Arc::clone(&clients).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let pac = Arc::clone(pac);
        tokio::spawn(async move {
            let _place = place;
            if let Ok(Err(fault)) = tokio::time::timeout(WHOLE_EXCHANGE, serve_one(stream, &pac)).await {
                tracing::debug!(%fault, "a client of the PAC listener went away");
            }
        });
    }
}

async fn serve_one(stream: TcpStream, pac: &Pac) -> io::Result<()> {
    let tls: Option<Arc<ServerConfig>> = pac.tls.load_full();
    match tls {
        Some(tls) => converse(TlsAcceptor::from(tls).accept(stream).await?, pac).await,
        None => converse(stream, pac).await,
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, pac: &Pac) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let mut asked = Asked::More;
    while asked == Asked::More {
        let room = (LONGEST_HEAD - head.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        asked = exchange::asked(&head);
    }
    if let Some(answer) = exchange::answer(asked, &pac.file.load()) {
        stream.write_all(&answer).await?;
    }
    stream.shutdown().await?;
    // Waiting for the other side's end keeps a reset from overtaking the answer.
    tokio::io::copy(&mut stream.take(LONGEST_HEAD as u64), &mut tokio::io::sink()).await.map(drop)
}
