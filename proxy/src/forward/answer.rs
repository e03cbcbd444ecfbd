//! A response on its way down: what of its head is passed on, and how its end is told.
//!
//! The same for both protocols of the downstream; each has its own way to write it. Never decodes a content
//! coding, never passes on what an origin says in a proxy's name.

use std::future::Future;
use std::io;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::fault::Fault;
use super::hop;
use super::outbound::Outbound;

/// The head of a response, hop-by-hop fields removed and `Via` added.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerHead {
    /// The status the origin gave.
    pub status: StatusCode,
    /// The fields that are passed on. `Content-Length` is not among them, nor any other framing.
    pub headers: HeaderMap,
    /// Whether a body follows, and how its end is told.
    pub body: AnswerBody,
}

/// The body of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// None follows. To HEAD, and with 304, the length that one would have may be told.
    Omitted(Option<u64>),
    /// Exactly this many bytes.
    Sized(u64),
    /// Until it ends.
    Unknown,
}

/// Where a response goes.
pub trait Answer: Send {
    /// Whether anything of the final response has been written: then no other answer can be given.
    fn begun(&self) -> bool;

    /// Writes an interim response (1xx).
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    fn interim(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes the head. It may wait for what follows, until [`Self::flush`] or [`Self::end`].
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    fn begin(&mut self, head: AnswerHead) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes the head of a switch to WebSocket (101). What follows is not HTTP.
    ///
    /// # Errors
    /// When the downstream cannot be written to, or knows no such switch.
    fn switch(&mut self, headers: &HeaderMap) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes a piece of the body. It may wait for what follows, like the head.
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    fn data(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Lets nothing wait any longer: what comes next takes its time.
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes the end of the body, and all that waits.
    ///
    /// # Errors
    /// When the downstream cannot be written to.
    fn end(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// The head to pass on for a final response.
pub(super) fn head(parts: &Parts, request: &Outbound) -> Result<AnswerHead, Fault> {
    if parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(Fault::Response("an origin asks for proxy credentials"));
    }
    let body = body(parts, request)?;
    let headers = fields(&parts.headers, request.via());
    Ok(AnswerHead { status: parts.status, headers, body })
}

/// The fields to pass on, for any response.
pub(super) fn fields(headers: &HeaderMap, via: &HeaderValue) -> HeaderMap {
    let mut fields = hop::end_to_end(headers);
    fields.remove(header::CONTENT_LENGTH);
    fields.append(header::VIA, via.clone());
    fields
}

/// RFC 9112 §6.3, where `hyper` has already refused what contradicts itself, and more strictly: a coding
/// other than chunked, or one beside a length, is nothing to pass on.
fn body(parts: &Parts, request: &Outbound) -> Result<AnswerBody, Fault> {
    let length = length(&parts.headers)?;
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Fault::Response("the transfer coding is not exactly chunked")),
    };
    match (parts.status, length) {
        (StatusCode::NO_CONTENT, _) => Ok(AnswerBody::Omitted(None)),
        (StatusCode::NOT_MODIFIED, length) => Ok(AnswerBody::Omitted(length)),
        (_, length) if request.is_head() => Ok(AnswerBody::Omitted(length)),
        (_, Some(_)) if chunked => Err(Fault::Response("it has a length and a transfer coding")),
        (_, Some(length)) => Ok(AnswerBody::Sized(length)),
        (_, None) => Ok(AnswerBody::Unknown),
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    const INVALID: Fault = Fault::Response("the length is not one number");
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| INVALID)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(INVALID);
        }
        let next: u64 = text.parse().map_err(|_| INVALID)?;
        if length.is_some_and(|length| length != next) {
            return Err(INVALID);
        }
        length = Some(next);
    }
    Ok(length)
}
