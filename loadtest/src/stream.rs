//! How do tunnels share a connection? As streams of HTTP/2 (RFC 9113 section 8.5).
//!
//! The client grants wide windows and large frames, so that what is measured is the proxy and not the client's patience.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, Bytes};
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::Link;
use crate::subject::Subject;

/// What a proxy may send on one stream before it is read, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// What it may send on one connection, in bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest frame that it may send, in bytes.
const FRAME: u32 = 64 * 1024;

/// A connection on which tunnels open. It closes when neither a handle nor a tunnel of it is left.
#[derive(Debug, Clone)]
pub(crate) struct Shared(SendRequest<Bytes>);

impl Shared {
    /// Speaks HTTP/2 over a connection.
    ///
    /// # Errors
    /// When the other side does not.
    pub(crate) async fn over(link: Link) -> anyhow::Result<Self> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        builder.max_frame_size(FRAME).enable_push(false);
        let (requests, connection) = builder.handshake(link).await.context("the preface of HTTP/2")?;
        tokio::spawn(async move {
            // How it ends is seen by the tunnels on it.
            let _ended = connection.await;
        });
        Ok(Self(requests))
    }

    /// Opens a tunnel to a destination.
    ///
    /// # Errors
    /// What the proxy said instead.
    pub(crate) async fn connect(&self, subject: &Subject, destination: &str) -> anyhow::Result<Stream> {
        let mut requests = self.0.clone().ready().await.context("a stream")?;
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(destination.parse()?);
        let request = Request::builder().method(Method::CONNECT).uri(Uri::from_parts(parts)?).body(())?;
        let (answer, outgoing) = requests.send_request(request, false).context("sending CONNECT")?;
        let answer = answer.await.context("awaiting the answer to CONNECT")?;
        if !answer.status().is_success() {
            bail!("{} refused {destination}: {}", subject.name, answer.status());
        }
        Ok(Stream { outgoing, incoming: answer.into_body(), unread: Bytes::new() })
    }
}

/// The client's end of one tunnel on a shared connection.
#[derive(Debug)]
pub(crate) struct Stream {
    outgoing: SendStream<Bytes>,
    incoming: RecvStream,
    unread: Bytes,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.unread.is_empty() {
            match ready!(stream.incoming.poll_data(context)) {
                Some(data) => stream.unread = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = stream.unread.len().min(into.remaining());
        into.put_slice(stream.unread.get(..length).unwrap_or_default());
        stream.unread.advance(length);
        stream.incoming.flow_control().release_capacity(length).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outgoing = &mut self.get_mut().outgoing;
        outgoing.reserve_capacity(bytes.len());
        loop {
            let granted = match ready!(outgoing.poll_capacity(context)) {
                Some(granted) => granted.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            if let Some(now @ [_, ..]) = bytes.get(..granted.min(bytes.len())) {
                outgoing.send_data(Bytes::copy_from_slice(now), false).map_err(io::Error::other)?;
                return Poll::Ready(Ok(now.len()));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.get_mut().outgoing.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Nothing happens to a stream that has ended; one that has not is given up, as a closed socket is.
        if !self.incoming.is_end_stream() {
            self.outgoing.send_reset(Reason::CANCEL);
        }
    }
}
