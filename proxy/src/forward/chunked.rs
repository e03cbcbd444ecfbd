//! The chunked coding of a request body (RFC 9112 §7.1), read strictly.
//!
//! Sizes are hexadecimal digits and nothing else, every line ends in CRLF, extensions and trailers are
//! bounded and dropped. A body that breaks a rule is broken for good: nothing behind the violation is data.
//! Pure: bytes in, data out, no stream.

use bytes::{Buf, Bytes, BytesMut};

use super::fault::BodyFault;

/// The longest line of a chunk's size with its extension, in bytes.
const MAX_SIZE_LINE: usize = 256;
/// All extensions of a body together, in bytes: one byte of data a chunk must not cost hundreds more.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// The trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Hexadecimal digits of a size: `u64`.
const MAX_DIGITS: usize = 16;

/// What one step of decoding gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Some data of the body; never empty.
    Data(Bytes),
    /// More bytes are needed.
    NeedMore,
    /// The body is over, its trailers dropped. What is left in the buffer is not part of it.
    End,
}

/// The decoder of one chunked body.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    extensions: usize,
    trailers: usize,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
    Broken(&'static str),
}

impl Chunked {
    /// Takes what it can off the front of `buffer`.
    ///
    /// # Errors
    /// [`BodyFault::Malformed`], again at every later call.
    pub fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, BodyFault> {
        self.advance(buffer).map_err(|rule| {
            self.state = State::Broken(rule);
            BodyFault::Malformed(rule)
        })
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Step, &'static str> {
        loop {
            let moved = match self.state {
                State::Size => self.size(buffer)?,
                State::Data(left) => return Ok(self.data(left, buffer)),
                State::DataEnd => self.data_end(buffer)?,
                State::Trailers => self.trailer(buffer)?,
                State::End => return Ok(Step::End),
                State::Broken(rule) => return Err(rule),
            };
            if !moved {
                return Ok(Step::NeedMore);
            }
        }
    }

    fn size(&mut self, buffer: &mut BytesMut) -> Result<bool, &'static str> {
        let Some(line) = take_line(buffer, MAX_SIZE_LINE)? else {
            return Ok(false);
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        if !matches!(extension, [] | [b';', ..]) {
            return Err("a chunk size is followed by something else than an extension");
        }
        self.extensions = self.extensions.saturating_add(extension.len());
        if self.extensions > MAX_EXTENSIONS {
            return Err("the chunk extensions are too long");
        }
        self.state = match parse_size(size)? {
            0 => State::Trailers,
            size => State::Data(size),
        };
        Ok(true)
    }

    fn data(&mut self, left: u64, buffer: &mut BytesMut) -> Step {
        if buffer.is_empty() {
            return Step::NeedMore;
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let data = buffer.split_to(taken).freeze();
        let left = left.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        Step::Data(data)
    }

    fn data_end(&mut self, buffer: &mut BytesMut) -> Result<bool, &'static str> {
        match buffer.as_ref() {
            [b'\r', b'\n', ..] => {
                buffer.advance(2);
                self.state = State::Size;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            _ => Err("a chunk does not end where its size says"),
        }
    }

    fn trailer(&mut self, buffer: &mut BytesMut) -> Result<bool, &'static str> {
        let Some(line) = take_line(buffer, MAX_TRAILERS)? else {
            return Ok(false);
        };
        self.trailers = self.trailers.saturating_add(line.len() + 2);
        if line.is_empty() {
            self.state = State::End;
        } else if self.trailers > MAX_TRAILERS {
            return Err("the trailers are too long");
        } else if !crate::request::is_field_line(&line) {
            return Err("a trailer is not a field line");
        }
        Ok(true)
    }
}

fn parse_size(digits: &[u8]) -> Result<u64, &'static str> {
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return Err("a chunk size is not one to sixteen hexadecimal digits");
    }
    let text = std::str::from_utf8(digits).unwrap_or_default();
    u64::from_str_radix(text, 16).map_err(|_| "a chunk size is not a hexadecimal number")
}

/// A whole line off the front, without its CRLF.
fn take_line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, &'static str> {
    for (index, byte) in buffer.iter().enumerate().take(longest) {
        match byte {
            b'\r' => {
                return match buffer.get(index + 1) {
                    Some(b'\n') => {
                        let line = buffer.split_to(index);
                        buffer.advance(2);
                        Ok(Some(line))
                    }
                    Some(_) => Err("a CR stands alone"),
                    None => Ok(None),
                };
            }
            b'\n' => return Err("a line ends in a bare LF"),
            b'\t' => {}
            0..0x20 | 0x7f => return Err("a line has a control character"),
            _ => {}
        }
    }
    if buffer.len() >= longest { Err("a line is too long") } else { Ok(None) }
}
