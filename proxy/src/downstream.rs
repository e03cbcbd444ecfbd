//! What carries the device's side of a tunnel? A TLS stream of its own, or one stream of an HTTP/2 connection.
//!
//! Both look the same to the relay: bytes in, bytes out, and an abort that the device cannot mistake for an orderly end.

mod decrypt;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::tunnel::{Downstream, Filled, Source};

pub use decrypt::BACKLOG;

/// The largest HTTP/2 DATA payload handed to the connection at once, in bytes.
const FRAME: usize = 64 * 1024;

/// A TLS stream of a device's own. In a box: it is handed from stage to stage, every one of which would set aside room for it
/// in its future, for as long as the tunnel lives.
pub type DeviceStream = Box<TlsStream<TcpStream>>;

impl Downstream for DeviceStream {
    fn abort(&mut self) {
        // Fails only on a socket that is already gone, which is what was wanted.
        let _gone = SockRef::from(self.get_ref().0).set_linger(Some(Duration::ZERO));
    }
}

impl Source for DeviceStream {
    const ROOM: usize = BACKLOG;

    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Filled> {
        decrypt::poll_fill(self, cx, buffer)
    }
}

/// One HTTP/2 stream after a successful CONNECT.
#[derive(Debug)]
pub struct StreamTunnel {
    receive: RecvStream,
    send: SendStream<Bytes>,
    unread: Bytes,
}

impl StreamTunnel {
    /// Joins the two halves of a stream.
    #[must_use]
    pub fn new(receive: RecvStream, send: SendStream<Bytes>) -> Self {
        Self { receive, send, unread: Bytes::new() }
    }
}

impl Source for StreamTunnel {}

impl Downstream for StreamTunnel {
    fn abort(&mut self) {
        // RFC 9113 §8.5: a connection error of the tunnelled TCP connection is CONNECT_ERROR.
        self.send.send_reset(h2::Reason::CONNECT_ERROR);
    }
}

impl AsyncRead for StreamTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(ended(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        // The window opens only by what the relay has taken, so a stream buffers one window at most.
        self.receive.flow_control().release_capacity(length).map_err(ended)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamTunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len().min(FRAME));
        let capacity = match ready!(self.send.poll_capacity(cx)) {
            Some(capacity) => capacity.map_err(ended)?,
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let chunk = buf.get(..capacity.min(buf.len())).unwrap_or_default();
        if chunk.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.send.send_data(Bytes::copy_from_slice(chunk), false).map_err(ended)?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(ended))
    }
}

fn ended(error: h2::Error) -> io::Error {
    let kind = if error.is_reset() { io::ErrorKind::ConnectionReset } else { io::ErrorKind::BrokenPipe };
    io::Error::new(kind, error)
}
