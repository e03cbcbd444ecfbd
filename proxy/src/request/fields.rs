//! The header fields that decide how a request is read: `Host`, the framing, `Via`, `Expect`, `Upgrade`.
//!
//! One function per field, the same for HTTP/1 and HTTP/2. Never changes a field.

use config::{Destination, Reason};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Framing, Protocol, Pseudonym, Refused};

/// The one value of a field that may stand once at most.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: HeaderName,
    twice: &'static str,
) -> Result<Option<&'a HeaderValue>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refused::malformed(twice)),
    }
}

/// RFC 9112 §3.2: HTTP/1.1 has exactly one `Host`; a second or an invalid one is refused everywhere.
pub(super) fn host(headers: &HeaderMap, protocol: Protocol) -> Result<Option<&HeaderValue>, Refused> {
    let host = single(headers, header::HOST, "the request has two Host fields")?;
    match (host, protocol) {
        (None, Protocol::Http11) => Err(Refused::malformed("the request has no Host field")),
        (host, _) => Ok(host),
    }
}

/// For CONNECT: `Host` is the authority again. Several programs leave out the port (Java, older Node), so
/// without one only the hosts have to be equal; the value decides nothing.
pub(super) fn host_agrees(host: &HeaderValue, destination: &Destination) -> Result<(), Refused> {
    match Destination::parse_with_default_port(host.as_bytes(), destination.port()) {
        Ok(named) if named == *destination => Ok(()),
        Ok(_) => Err(Refused::malformed("the Host field names another destination than the target")),
        Err(_) => Err(INVALID_HOST),
    }
}

/// For an absolute-form target: `Host` is ignored (RFC 9112 §3.2.2), but has to be one.
pub(super) fn host_is_valid(host: &HeaderValue) -> Result<(), Refused> {
    Destination::parse_with_default_port(host.as_bytes(), 80).map(drop).map_err(|_| INVALID_HOST)
}

const INVALID_HOST: Refused = Refused::malformed("the Host field is not a host");

/// CONNECT has no content (RFC 9110 §9.3.6). `Content-Length: 0` is let pass: Windows sends it, and it
/// leaves no doubt where the tunnel's bytes begin.
pub(super) fn no_content(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refused::malformed("CONNECT with Transfer-Encoding"));
    }
    match content_length(headers)? {
        None | Some(0) => Ok(()),
        Some(_) => Err(Refused::malformed("CONNECT with content")),
    }
}

/// RFC 9112 §6.1 and §6.3, without the repairs they permit.
pub(super) fn framing(headers: &HeaderMap, protocol: Protocol) -> Result<Framing, Refused> {
    let coding = single(headers, header::TRANSFER_ENCODING, "the request has two Transfer-Encoding fields")?;
    let length = content_length(headers)?;
    match (coding, length) {
        (None, None) => Ok(Framing::Empty),
        (None, Some(length)) => Ok(Framing::Sized(length)),
        (Some(_), Some(_)) => Err(Refused::malformed("the request has Content-Length and Transfer-Encoding")),
        (Some(_), None) if protocol != Protocol::Http11 => {
            Err(Refused::malformed("Transfer-Encoding outside HTTP/1.1"))
        }
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (Some(_), None) => Err(Refused::malformed("the transfer coding is not exactly chunked")),
    }
}

pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    single(headers, header::CONTENT_LENGTH, "the request has two Content-Length fields")?
        .map(|value| digits(value).ok_or(Refused::malformed("the Content-Length is not a number")))
        .transpose()
}

fn digits(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Whether the request has been here before (RFC 9110 §7.6.3): our own name as a received-by.
pub(super) fn no_loop(headers: &HeaderMap, pseudonym: &Pseudonym) -> Result<(), Refused> {
    let ours = pseudonym.as_str().as_bytes();
    let received_by_us = |element: &[u8]| {
        let mut words = element.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(ours))
    };
    let looped = headers
        .get_all(header::VIA)
        .iter()
        .any(|value| value.as_bytes().split(|byte| *byte == b',').any(received_by_us));
    if looped { Err(Refused::new(Reason::RequestLoop, "Via names this gateway")) } else { Ok(()) }
}

/// RFC 9110 §10.1.1. HTTP/1.0 has no interim answers, so there the expectation is ignored.
pub(super) fn expects_continue(
    headers: &HeaderMap,
    protocol: Protocol,
    framing: Framing,
) -> Result<bool, Refused> {
    match single(headers, header::EXPECT, "the request has two Expect fields")? {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Ok(protocol != Protocol::Http10 && !matches!(framing, Framing::Empty | Framing::Sized(0)))
        }
        Some(_) => Err(Refused::malformed("the expectation is not 100-continue")),
    }
}

/// Whether to ask for a switch to WebSocket. Other upgrades, h2c above all, are not passed on, which a
/// server may do too (RFC 9110 §7.8). A WebSocket request with anything behind its head is refused.
pub(super) fn websocket(
    headers: &HeaderMap,
    protocol: Protocol,
    method: &Method,
    framing: Framing,
) -> Result<bool, Refused> {
    let upgrade = single(headers, header::UPGRADE, "the request has two Upgrade fields")?;
    let asked = upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !asked || protocol != Protocol::Http11 || !lists(headers, header::CONNECTION, "upgrade") {
        return Ok(false);
    }
    if method != Method::GET || framing != Framing::Empty {
        return Err(Refused::malformed("a WebSocket request is not a GET without a body"));
    }
    Ok(true)
}

/// RFC 9110 §7.6.2: an OPTIONS that has no hops left is not passed on. The refusal lists the methods, which
/// is the answer that was asked for.
pub(super) fn has_hops_left(headers: &HeaderMap, method: &Method) -> Result<(), Refused> {
    let spent = headers.get(header::MAX_FORWARDS).and_then(digits) == Some(0);
    if spent && method == Method::OPTIONS {
        return Err(Refused::new(Reason::MethodNotAllowed, "OPTIONS with no hops left"));
    }
    Ok(())
}

/// RFC 9112 §9.3. `Proxy-Connection` is what some programs still say to a proxy.
pub(super) fn persistent(headers: &HeaderMap, protocol: Protocol) -> bool {
    let says = |option| {
        lists(headers, header::CONNECTION, option)
            || lists(headers, HeaderName::from_static("proxy-connection"), option)
    };
    match protocol {
        Protocol::Http10 => says("keep-alive") && !says("close"),
        Protocol::Http11 => !says("close"),
        Protocol::Http2 => true,
    }
}

/// Whether a comma-separated field has this element, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, element: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    })
}
