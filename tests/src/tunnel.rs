//! An open tunnel, whichever HTTP version carries it, so that one table covers both.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use crate::http2::Driver;
use crate::wait::promptly;
use crate::wire::Wire;

/// The HTTP version that carries a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, on a connection of its own.
    Http2,
}

impl Over {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

/// How a direction of a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order: FIN, close_notify or END_STREAM.
    Finished,
    /// By a reset or another failure.
    Broken,
}

/// An open tunnel.
#[derive(Debug)]
pub enum Tunnel {
    /// Over HTTP/1: the connection is the tunnel.
    Http1(Wire),
    /// Over HTTP/2: a stream is the tunnel; it keeps its connection open.
    Http2(SendStream<Bytes>, RecvStream, Arc<Driver>),
}

impl Tunnel {
    /// Sends all bytes.
    ///
    /// # Errors
    /// When the tunnel is broken.
    ///
    /// # Panics
    /// When nobody takes them in time.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Http1(wire) => wire.send(bytes).await,
            Self::Http2(out, ..) => send_data(out, bytes).await,
        }
    }

    /// Sends in pieces of `piece` bytes until `bytes` are sent or the tunnel breaks; says how many were taken.
    pub async fn pour(&mut self, bytes: u64, piece: usize) -> u64 {
        let chunk = vec![b'u'; piece];
        let mut sent = 0;
        while sent < bytes {
            let now = usize::try_from(bytes - sent).unwrap_or(usize::MAX).min(piece);
            if self.send(&chunk[..now]).await.is_err() {
                break;
            }
            sent += now as u64;
        }
        sent
    }

    /// Whatever arrives next; empty at the end.
    ///
    /// # Errors
    /// When the tunnel is broken.
    ///
    /// # Panics
    /// When nothing arrives in time.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Http1(wire) => wire.some().await,
            Self::Http2(_, incoming, _) => loop {
                match promptly("a frame arrives", incoming.data()).await {
                    None => return Ok(Vec::new()),
                    // An empty frame is no end.
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(bytes)) => {
                        let _ = incoming.flow_control().release_capacity(bytes.len());
                        return Ok(bytes.to_vec());
                    }
                    Some(Err(fault)) => return Err(io::Error::other(fault)),
                }
            },
        }
    }

    /// Exactly `count` bytes; more than that in one piece is a failure.
    ///
    /// # Errors
    /// When the tunnel ends or breaks before.
    ///
    /// # Panics
    /// When more arrives than asked for, or nothing in time.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < count {
            let bytes = self.some().await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.extend(bytes);
        }
        assert_eq!(all.len(), count, "more arrived than was asked for");
        Ok(all)
    }

    /// Everything that still comes, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        loop {
            match self.some().await {
                Ok(bytes) if bytes.is_empty() => return (all, End::Finished),
                Ok(bytes) => all.extend(bytes),
                Err(_) => return (all, End::Broken),
            }
        }
    }

    /// Ends the writing side in good order.
    ///
    /// # Errors
    /// When the tunnel is already broken.
    pub async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(wire) => wire.finish().await,
            Self::Http2(out, ..) => out.send_data(Bytes::new(), true).map_err(io::Error::other),
        }
    }

    /// The bytes both ways make one round through an origin that echoes.
    ///
    /// # Panics
    /// When they do not.
    pub async fn echoes(&mut self, text: &[u8]) {
        self.send(text).await.expect("the tunnel takes bytes");
        assert_eq!(self.exactly(text.len()).await.expect("the echo comes back"), text);
    }
}

/// Sends all bytes as the stream's window permits.
pub(crate) async fn send_data(out: &mut SendStream<Bytes>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        out.reserve_capacity(rest.len());
        let granted =
            promptly("the window opens", std::future::poll_fn(|context| out.poll_capacity(context)));
        let granted = granted.await.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
        let now = rest.split_to(granted.min(rest.len()));
        out.send_data(now, false).map_err(io::Error::other)?;
    }
    Ok(())
}
