//! The record layer under a ClientHello: plaintext records in, one handshake message out.
//!
//! Follows RFC 8446 §5.1 and is stricter where servers differ: no empty records, nothing but handshake
//! records until the message is whole, and nothing behind the message in its last record. Never looks
//! into the message.

use super::hello::Malformed;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_RECORD: usize = 1 << 14;

/// What `Handshake::feed` has so far.
pub(super) enum Framed {
    NeedMore,
    /// The body of the ClientHello, without its four-byte header.
    Complete(Vec<u8>),
}

/// The reassembly of the first handshake message.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    header: Vec<u8>,
    record_left: usize,
    message: Vec<u8>,
}

impl Handshake {
    /// Takes the next bytes of the stream; the caller bounds how many there are in all.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<Framed, Malformed> {
        while !bytes.is_empty() {
            bytes = if self.record_left == 0 { self.take_header(bytes)? } else { self.take_payload(bytes) };
            if let Some(total) = self.expected()?
                && self.message.len() >= total
            {
                return self.complete(total);
            }
        }
        Ok(Framed::NeedMore)
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let wanted = RECORD_HEADER.saturating_sub(self.header.len());
        let (now, later) = bytes.split_at(wanted.min(bytes.len()));
        self.header.extend_from_slice(now);
        match *self.header.as_slice() {
            [kind, ..] if kind != HANDSHAKE => return Err(Malformed::OtherRecord),
            [_, major, ..] if major != 3 => return Err(Malformed::RecordVersion),
            [_, _, _, high, low] => {
                self.record_left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                if self.record_left == 0 {
                    return Err(Malformed::EmptyRecord);
                }
                if self.record_left > MAX_RECORD {
                    return Err(Malformed::TooLong);
                }
            }
            _ => {}
        }
        Ok(later)
    }

    fn take_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(self.record_left.min(bytes.len()));
        self.message.extend_from_slice(now);
        self.record_left = self.record_left.saturating_sub(now.len());
        later
    }

    /// The length of the whole message with its header, once the header is there.
    fn expected(&self) -> Result<Option<usize>, Malformed> {
        match *self.message.as_slice() {
            [kind, ..] if kind != CLIENT_HELLO => Err(Malformed::OtherMessage),
            [_, first, second, third, ..] => usize::try_from(u32::from_be_bytes([0, first, second, third]))
                .ok()
                .filter(|length| *length <= super::MAX_FLIGHT_BYTES)
                .map(|length| Some(length.saturating_add(MESSAGE_HEADER)))
                .ok_or(Malformed::TooLong),
            _ => Ok(None),
        }
    }

    fn complete(&mut self, total: usize) -> Result<Framed, Malformed> {
        if self.message.len() > total || self.record_left > 0 {
            return Err(Malformed::TrailingBytes);
        }
        Ok(Framed::Complete(self.message.split_off(MESSAGE_HEADER)))
    }
}
