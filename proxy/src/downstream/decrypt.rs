//! How are a device's bytes read in bulk? All the records that its socket holds with one call, decrypted in the buffer into
//! which they were read.
//!
//! By itself a TLS stream reads one record at a time, and every read from a socket may open the sender's window by as little as
//! that: a packet each. Here encrypted bytes are read into the back of the caller's buffer, the TLS layer takes them
//! record by record, and what it has decrypted goes to the front. The front never reaches the back, because what the TLS layer may
//! have kept of earlier reads is less than [`BACKLOG`].
//!
//! Relies on rustls for all that is TLS. Holds nothing between two reads, and sees to it that rustls holds little.

use std::io::{self, IoSlice, Read as _, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::tunnel::Filled;

/// The most that the TLS layer holds of a record that is not complete, in bytes (RFC 8446 §5.2; RFC 5246 §6.2.3 allows more
/// overhead), and some room.
pub const BACKLOG: usize = 18 * 1024 + 512;

/// Fills `buffer` from its start with what the device has sent. Pending when that makes no byte yet.
pub(super) fn poll_fill(
    stream: &mut TlsStream<TcpStream>,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Filled> {
    let (socket, tls) = stream.get_mut();
    // What was decrypted before the relay began, behind a request.
    let before = read_plaintext(tls, buffer);
    if before.bytes > 0 || before.end.is_some() {
        return Poll::Ready(before);
    }
    loop {
        let mut space = ReadBuf::new(buffer.get_mut(BACKLOG..).unwrap_or_default());
        let filled = match Pin::new(&mut *socket).poll_read(cx, &mut space) {
            Poll::Pending => {
                // Asked to read when there is nothing, the TLS layer lets go of the room for a whole record.
                let _nothing = tls.read_tls(&mut Dry);
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => Filled { bytes: 0, end: Some(Err(error)) },
            Poll::Ready(Ok(())) => match space.filled().len() {
                0 => hear_the_end(tls),
                received => decrypt(tls, buffer, received),
            },
        };
        if filled.end.as_ref().is_some_and(Result::is_err) {
            // An alert that says why may be waiting. Whether it leaves makes no difference any more.
            let _unsent = tls.write_tls(&mut AtOnce(socket));
        }
        if filled.bytes > 0 || filled.end.is_some() {
            return Poll::Ready(filled);
        }
    }
}

/// Decrypts the `received` bytes that are in the buffer behind its first [`BACKLOG`]; plaintext goes to its start.
fn decrypt(tls: &mut ServerConnection, buffer: &mut [u8], received: usize) -> Filled {
    let mut filled = Filled::default();
    let (mut next, end) = (BACKLOG, BACKLOG + received);
    while next < end && filled.end.is_none() {
        let mut encrypted = buffer.get(next..end).unwrap_or_default();
        let taken = tls.read_tls(&mut encrypted).and_then(|taken| {
            tls.process_new_packets().map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
            Ok(taken)
        });
        match taken {
            Ok(taken) => next += taken,
            Err(error) => filled.end = Some(Err(error)),
        }
        let plaintext = read_plaintext(tls, buffer.get_mut(filled.bytes..next).unwrap_or_default());
        filled.bytes += plaintext.bytes;
        filled.end = filled.end.or(plaintext.end);
    }
    filled
}

/// The device's socket has ended: in good order only behind a close_notify.
fn hear_the_end(tls: &mut ServerConnection) -> Filled {
    let heard = tls.read_tls(&mut io::empty());
    let end = heard.and_then(|_| tls.reader().read(&mut [0]).map(|_| ()));
    Filled { bytes: 0, end: Some(end) }
}

/// Takes what is decrypted.
fn read_plaintext(tls: &mut ServerConnection, space: &mut [u8]) -> Filled {
    match tls.reader().read(space) {
        Ok(0) => Filled { bytes: 0, end: Some(Ok(())) },
        Ok(bytes) => Filled { bytes, end: None },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Filled::default(),
        Err(error) => Filled { bytes: 0, end: Some(Err(error)) },
    }
}

/// A socket with nothing to read.
struct Dry;

impl io::Read for Dry {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Writes to a socket what it takes at once.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
