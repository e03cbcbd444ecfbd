//! The request body between the downstream that is read and the `hyper` connection that writes it.
//!
//! A rendezvous of one piece. A body that is not brought to its end counts as broken off, so that `hyper`
//! never ends a truncated upload as if it were whole. Never buffers more than one piece.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::fault::BodyFault;
use super::intake::Intake;
use crate::request::Framing;

enum Piece {
    Data(Bytes),
    End,
}

/// The body as `hyper` sees it.
pub(super) struct Upload {
    pieces: Option<mpsc::Receiver<Piece>>,
    length: Option<u64>,
}

/// The other end, which the downstream feeds.
pub(super) struct Feed {
    pieces: Option<mpsc::Sender<Piece>>,
    left: Option<u64>,
}

/// Nobody brought the body to its end.
#[derive(Debug, thiserror::Error)]
#[error("the request body was broken off")]
pub(super) struct BrokenOff;

/// Both ends of a body of this framing.
pub(super) fn pair(framing: Framing) -> (Feed, Upload) {
    match framing {
        Framing::Empty | Framing::Sized(0) => {
            (Feed { pieces: None, left: Some(0) }, Upload { pieces: None, length: Some(0) })
        }
        Framing::Sized(length) => with_pieces(Some(length)),
        Framing::Chunked => with_pieces(None),
    }
}

fn with_pieces(length: Option<u64>) -> (Feed, Upload) {
    let (sender, receiver) = mpsc::channel(1);
    (Feed { pieces: Some(sender), left: length }, Upload { pieces: Some(receiver), length })
}

impl Feed {
    /// Brings the whole body over. Whether it got there: `false` when nobody reads it any more.
    pub(super) async fn bring<I: Intake>(mut self, intake: &mut I) -> Result<bool, BodyFault> {
        let Some(pieces) = self.pieces else {
            return Ok(true);
        };
        // Once it has as much as was announced, `hyper` asks for no end.
        while self.left != Some(0) {
            // Waiting for room first: what has not been read from the device can still be refused.
            let Ok(room) = pieces.reserve().await else {
                return Ok(false);
            };
            let Some(data) = intake.next().await? else {
                room.send(Piece::End);
                return Ok(true);
            };
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            self.left = self.left.map(|left| left.saturating_sub(length));
            room.send(Piece::Data(data));
        }
        Ok(true)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::End) => {
                self.pieces = None;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
