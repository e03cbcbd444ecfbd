//! How do bytes get from one side to the other? One direction of a tunnel, as a state that is polled.
//!
//! A flow reads as much as is there into one borrowed buffer, writes it in as few calls as the other side takes, and
//! flushes before it waits. When its source ends, it closes the write half of its sink and is done. It knows nothing of
//! budgets or revocation: the upstream side asks its gate and its meter by itself ([`crate::egress`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers;

/// A side that bytes come from.
pub trait Source: AsyncRead + Unpin {
    /// How much longer than what it is to be filled with a buffer has to be, in bytes.
    const ROOM: usize = 0;

    /// Fills `buffer` from its start with what is there, [`Self::ROOM`] bytes less than it holds at most. Pending when nothing
    /// is there.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Filled> {
        fill_by_reading(self, cx, buffer)
    }
}

/// What filling a buffer has come to.
#[derive(Debug, Default)]
pub struct Filled {
    /// How many bytes are in the buffer.
    pub bytes: usize,
    /// How the source ended behind them, if it has: it tells that only once.
    pub end: Option<io::Result<()>>,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pending: Option<Pending>,
    unflushed: bool,
    /// How the source ended behind what is pending.
    end: Option<io::Result<()>>,
    done: bool,
}

/// Bytes read and not yet written.
#[derive(Debug)]
struct Pending {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Which side a flow broke on.
#[derive(Debug)]
pub(super) enum Broken {
    /// Reading from the source failed.
    Source(io::Error),
    /// Writing to the sink failed.
    Sink(io::Error),
}

impl Flow {
    /// A flow that begins with bytes already read from its source.
    pub(super) fn starting_with(early: &[u8]) -> Self {
        let mut flow = Self::default();
        if !early.is_empty() {
            let mut buffer = buffers::take();
            if buffer.len() < early.len() {
                buffer = vec![0; early.len()].into_boxed_slice();
            }
            if let Some(space) = buffer.get_mut(..early.len()) {
                space.copy_from_slice(early);
            }
            flow.pending = Some(Pending { buffer, start: 0, end: early.len() });
        }
        flow
    }

    /// Whether the source has ended and the sink was told so.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Moves what can be moved. Ready when the source has ended and the sink was told so.
    pub(super) fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut D,
    ) -> Poll<Result<(), Broken>>
    where
        S: Source + ?Sized,
        D: AsyncWrite + Unpin + ?Sized,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_drain(cx, sink)).map_err(Broken::Sink)?;
            match self.end.take() {
                None => {}
                Some(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Some(Ok(())) => {
                    self.end = Some(Ok(()));
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Broken::Sink)?;
                    self.done = true;
                    return Poll::Ready(Ok(()));
                }
            }
            if self.poll_fill(cx, source).is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(Broken::Sink)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    fn poll_drain<D: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut D,
    ) -> Poll<io::Result<()>> {
        while let Some(pending) = &mut self.pending {
            let rest = pending.buffer.get(pending.start..pending.end).unwrap_or_default();
            if !rest.is_empty() {
                let written = ready!(Pin::new(&mut *sink).poll_write(cx, rest))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                pending.start += written;
                self.unflushed = true;
            }
            if pending.start == pending.end {
                self.put_back();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fills one buffer. What was read is passed on before an end that came with it.
    fn poll_fill<S: Source + ?Sized>(&mut self, cx: &mut Context<'_>, source: &mut S) -> Poll<()> {
        let mut buffer = buffers::take();
        let filled = source.poll_fill(cx, buffer.get_mut(..buffers::READ + S::ROOM).unwrap_or_default());
        let Poll::Ready(Filled { bytes: 1.., .. }) = filled else {
            buffers::give(buffer);
            return filled.map(|filled| self.end = filled.end);
        };
        filled.map(|filled| {
            self.pending = Some(Pending { buffer, start: 0, end: filled.bytes });
            self.end = filled.end;
        })
    }

    fn put_back(&mut self) {
        if let Some(pending) = self.pending.take()
            && pending.buffer.len() == buffers::SIZE
        {
            buffers::give(pending.buffer);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.put_back();
    }
}

/// Fills a buffer by as many reads as find something.
fn fill_by_reading<S: AsyncRead + Unpin + ?Sized>(
    source: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Filled> {
    let mut space = ReadBuf::new(buffer);
    let mut end = None;
    while space.remaining() > 0 && end.is_none() {
        let before = space.filled().len();
        match Pin::new(&mut *source).poll_read(cx, &mut space) {
            Poll::Pending if before == 0 => return Poll::Pending,
            Poll::Pending => break,
            Poll::Ready(Err(error)) => end = Some(Err(error)),
            Poll::Ready(Ok(())) if space.filled().len() == before => end = Some(Ok(())),
            Poll::Ready(Ok(())) => {}
        }
    }
    Poll::Ready(Filled { bytes: space.filled().len(), end })
}
