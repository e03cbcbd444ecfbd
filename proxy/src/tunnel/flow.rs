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

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pending: Option<Pending>,
    unflushed: bool,
    source_ended: bool,
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
        S: AsyncRead + Unpin + ?Sized,
        D: AsyncWrite + Unpin + ?Sized,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.poll_drain(cx, sink)).map_err(Broken::Sink)?;
            if self.source_ended {
                ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Broken::Sink)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(cx, source) {
                Poll::Ready(result) => result.map_err(Broken::Source)?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(Broken::Sink)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
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

    /// Fills one buffer with all that the source has ready. Pending only when it has nothing at all.
    fn poll_fill<S: AsyncRead + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
    ) -> Poll<io::Result<()>> {
        let mut buffer = buffers::take();
        let mut space = ReadBuf::new(&mut buffer);
        let mut outcome = Poll::Ready(Ok(()));
        while space.remaining() > 0 {
            let before = space.filled().len();
            match Pin::new(&mut *source).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if space.filled().len() == before => {
                    self.source_ended = true;
                    break;
                }
                Poll::Ready(Ok(())) => {}
                other => {
                    outcome = other;
                    break;
                }
            }
        }
        let end = space.filled().len();
        if end == 0 {
            buffers::give(buffer);
            return outcome;
        }
        // What was read is passed on first; an error or a wait behind it shows itself at the next read.
        self.pending = Some(Pending { buffer, start: 0, end });
        Poll::Ready(Ok(()))
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
