//! How frames, reports and records are written one behind the other: each with its length before it, and with a bound.
//!
//! A frame is one byte for its kind, four for the length of what follows, big-endian, and the envelope; a report or a record
//! has no kind. Never holds more than one of them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::envelope::LARGEST_RECORD;
use crate::transport::{Frame, Report};

/// The largest report, in bytes of its JSON.
pub(super) const LARGEST_REPORT: usize = 1 << 20;

const HINT: u8 = 1;
const RECORD: u8 = 2;
const HEARTBEAT: u8 = 3;

/// What came is not in order; whoever sent it is not to be listened to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is too long")]
    TooLong,
    #[error("it is of no known kind")]
    Kind,
}

pub(super) fn encode(frame: &Frame) -> Bytes {
    let (kind, envelope) = match frame {
        Frame::Hint(envelope) => (HINT, envelope),
        Frame::Record(envelope) => (RECORD, envelope),
        Frame::Heartbeat(envelope) => (HEARTBEAT, envelope),
    };
    let mut bytes = BytesMut::with_capacity(5 + envelope.len());
    bytes.put_u8(kind);
    put(&mut bytes, envelope);
    bytes.freeze()
}

pub(super) fn encode_report(report: &Report) -> Bytes {
    let json = serde_json::to_vec(report).unwrap_or_default();
    encode_all([json.as_slice()])
}

/// Each with its length before it.
pub(super) fn encode_all<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut bytes = BytesMut::new();
    for item in items {
        put(&mut bytes, item);
    }
    bytes.freeze()
}

fn put(bytes: &mut BytesMut, item: &[u8]) {
    // Nothing that is sent comes near 4 GiB.
    bytes.put_u32(u32::try_from(item.len()).unwrap_or(u32::MAX));
    bytes.put_slice(item);
}

/// Collects what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: BytesMut,
}

impl Inbox {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next frame, if all of it is there.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some(kind) = self.bytes.first().copied() else { return Ok(None) };
        let frame = match kind {
            HINT => Frame::Hint,
            RECORD => Frame::Record,
            HEARTBEAT => Frame::Heartbeat,
            _ => return Err(Malformed::Kind),
        };
        Ok(self.item_behind(1, LARGEST_RECORD)?.map(frame))
    }

    /// The next item without a kind, if all of it is there.
    pub(super) fn item(&mut self, largest: usize) -> Result<Option<Bytes>, Malformed> {
        self.item_behind(0, largest)
    }

    fn item_behind(&mut self, skipped: usize, largest: usize) -> Result<Option<Bytes>, Malformed> {
        let head = self.bytes.get(skipped..skipped + 4).and_then(|head| head.try_into().ok());
        let Some(head) = head.map(u32::from_be_bytes) else { return Ok(None) };
        let length = usize::try_from(head).unwrap_or(usize::MAX);
        if length > largest {
            return Err(Malformed::TooLong);
        }
        if self.bytes.len() < skipped + 4 + length {
            return Ok(None);
        }
        self.bytes.advance(skipped + 4);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_however_they_are_cut() {
        let frames = [
            Frame::Hint(Bytes::from_static(b"{}")),
            Frame::Record(Bytes::from_static(b"")),
            Frame::Heartbeat(Bytes::from(vec![7; 5000])),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        for size in [1, 3, 4096, bytes.len()] {
            let (mut inbox, mut read) = (Inbox::default(), Vec::new());
            for piece in bytes.chunks(size) {
                inbox.push(piece);
                while let Some(frame) = inbox.frame().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames, "{size}");
        }
    }

    #[test]
    fn what_is_too_long_or_of_no_kind_is_refused_at_its_head() {
        let mut inbox = Inbox::default();
        inbox.push(&[RECORD, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(inbox.frame(), Err(Malformed::TooLong));
        let mut inbox = Inbox::default();
        inbox.push(&[9]);
        assert_eq!(inbox.frame(), Err(Malformed::Kind));
        let mut inbox = Inbox::default();
        inbox.push(&[0, 0, 0, 9]);
        assert_eq!(inbox.item(8), Err(Malformed::TooLong));
    }
}
