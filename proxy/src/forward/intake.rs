//! A request body on its way up, piece by piece, decoded from what the device sent.
//!
//! Takes exactly the body off the downstream, never a byte of what follows it: the next request head is left
//! in the buffer for the session to read and to have authorized.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::chunked::{Chunked, Step};
use super::fault::BodyFault;
use crate::request::Framing;

/// How much is read from the downstream at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Where a request body comes from.
pub trait Intake: Send {
    /// The next piece of the body; `None` when it is over, then and ever after. Safe to drop and call again.
    ///
    /// # Errors
    /// [`BodyFault`] when the body cannot be had whole.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyFault>> + Send;
}

/// The body of an HTTP/1 request.
#[derive(Debug)]
pub struct Http1Intake<'a, R> {
    reader: &'a mut R,
    buffer: &'a mut BytesMut,
    left: Left,
}

#[derive(Debug)]
enum Left {
    Bytes(u64),
    Chunks(Chunked),
}

impl<'a, R: AsyncRead + Unpin + Send> Http1Intake<'a, R> {
    /// A body of this framing, of which `buffer` may already hold the beginning. What the body does not
    /// need is left in `buffer`.
    pub fn new(reader: &'a mut R, buffer: &'a mut BytesMut, framing: Framing) -> Self {
        let left = match framing {
            Framing::Empty => Left::Bytes(0),
            Framing::Sized(length) => Left::Bytes(length),
            Framing::Chunked => Left::Chunks(Chunked::default()),
        };
        Self { reader, buffer, left }
    }

    /// Reads the rest of the body and throws it away, `limit` bytes at most. Whether the body is over then:
    /// only in that case can another request follow on the connection. The caller bounds the time.
    pub async fn drain(&mut self, limit: usize) -> bool {
        let mut drained = 0_usize;
        while drained <= limit {
            match self.next().await {
                Ok(Some(data)) => drained = drained.saturating_add(data.len()),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    }

    fn step(&mut self) -> Result<Step, BodyFault> {
        match &mut self.left {
            Left::Chunks(chunks) => chunks.step(self.buffer),
            Left::Bytes(0) => Ok(Step::End),
            Left::Bytes(_) if self.buffer.is_empty() => Ok(Step::NeedMore),
            Left::Bytes(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
                Ok(Step::Data(self.buffer.split_to(taken).freeze()))
            }
        }
    }
}

impl<R: AsyncRead + Unpin + Send> Intake for Http1Intake<'_, R> {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            match self.step()? {
                Step::Data(data) => return Ok(Some(data)),
                Step::End => return Ok(None),
                Step::NeedMore => {}
            }
            self.buffer.reserve(READ_BYTES);
            match self.reader.read_buf(self.buffer).await {
                Ok(0) => return Err(BodyFault::Truncated),
                Ok(_) => {}
                Err(error) => return Err(BodyFault::Downstream(error)),
            }
        }
    }
}
