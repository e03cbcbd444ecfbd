//! The raw bytes of an HTTP/1 head: where it ends, and whether its lines are beyond doubt.
//!
//! Runs before any parser. RFC 9112 §2.2 lets a reader take a bare LF for a line end and skip empty lines
//! in front; readers that differ in this are what request smuggling is made of, so neither is done here.
//! Never interprets a field.

use config::Reason;

use super::{Refused, Rules};

/// The head at the start of a buffer.
pub(super) struct Lines<'a> {
    /// The request line, without its CRLF.
    pub(super) request: RequestLine<'a>,
    /// The bytes of the whole head with its final empty line.
    pub(super) bytes: &'a [u8],
}

/// A request line, taken apart at its two single spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) version: &'a [u8],
}

/// Finds the head, or says that it is not whole yet. A violation is reported as soon as its line is whole.
pub(super) fn read<'a>(buffer: &'a [u8], rules: &Rules) -> Result<Option<Lines<'a>>, Refused> {
    let mut request = None;
    let mut fields = 0_usize;
    let mut at = 0_usize;
    loop {
        let rest = buffer.get(at..).unwrap_or_default();
        let Some(line) = next_line(rest, request.is_some())? else {
            return if buffer.len() >= rules.head_bytes { Err(TOO_LONG) } else { Ok(None) };
        };
        at = at.saturating_add(line.len()).saturating_add(2);
        if at > rules.head_bytes {
            return Err(TOO_LONG);
        }
        match request {
            None => request = Some(split_request_line(line)?),
            Some(request) if line.is_empty() => {
                let bytes = buffer.get(..at).unwrap_or_default();
                return Ok(Some(Lines { request, bytes }));
            }
            Some(_) => {
                check_field_line(line)?;
                fields = fields.saturating_add(1);
                if fields > rules.fields {
                    return Err(TOO_MANY);
                }
            }
        }
    }
}

const TOO_LONG: Refused = Refused::new(Reason::HeadTooLarge, "the head is too long");
const TOO_MANY: Refused = Refused::new(Reason::HeadTooLarge, "the head has too many fields");

/// The next line without its CRLF. Looks at the bytes of an unfinished line too: nothing that is already
/// wrong waits for the rest.
fn next_line(bytes: &[u8], in_fields: bool) -> Result<Option<&[u8]>, Refused> {
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => {
                return match bytes.get(index.saturating_add(1)) {
                    Some(b'\n') => Ok(bytes.get(..index)),
                    Some(_) => Err(Refused::malformed("a CR stands alone")),
                    None => Ok(None),
                };
            }
            b'\n' => return Err(Refused::malformed("a line ends in a bare LF")),
            b'\t' if in_fields => {}
            0..0x20 | 0x7f => return Err(Refused::malformed("the head has a control character")),
            0x80.. if !in_fields => return Err(Refused::malformed("the request line is not ASCII")),
            _ => {}
        }
    }
    Ok(None)
}

fn split_request_line(line: &[u8]) -> Result<RequestLine<'_>, Refused> {
    let mut parts = line.split(|byte| *byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None)
            if !method.is_empty() && !target.is_empty() && !version.is_empty() =>
        {
            Ok(RequestLine { method, target, version })
        }
        _ => Err(Refused::malformed("the request line is not method, target and version")),
    }
}

/// Whether this is one field line, without its CRLF.
pub(crate) fn is_field_line(line: &[u8]) -> bool {
    check_field_line(line).is_ok()
}

/// RFC 9112 §5: a token, at once a colon. A line that begins with a blank is obs-fold (§5.2).
fn check_field_line(line: &[u8]) -> Result<(), Refused> {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Refused::malformed("a field line is folded or indented"));
    }
    if name.len() == line.len() || name.is_empty() {
        return Err(Refused::malformed("a field line has no name or no colon"));
    }
    if !name.iter().all(|byte| is_token(*byte)) {
        return Err(Refused::malformed("a field name is not a token"));
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
