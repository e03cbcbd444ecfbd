//! The request as it is sent upstream, and how many bytes that is.
//!
//! Built anew: origin form, `Host` from the target, framing from what was read, `Via` with our own name
//! (RFC 9110 §7.6.3). The head's length is exact, because budgets are asked for it before anything is
//! dialled; a test counts it on the wire.

use config::{Destination, Host};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::hop;
use crate::request::{Forward, Framing, Protocol, Pseudonym};

/// A request ready to be sent, as often as needed.
#[derive(Debug, Clone)]
pub struct Outbound {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    framing: Framing,
    websocket: bool,
    via: HeaderValue,
}

impl Outbound {
    /// What is sent for this request, which came in `protocol`, by the gateway of this name.
    #[must_use]
    pub fn new(forward: &Forward, protocol: Protocol, pseudonym: &Pseudonym) -> Self {
        Self {
            method: forward.method.clone(),
            path: forward.path.clone(),
            headers: fields(forward, via(protocol, pseudonym)),
            framing: forward.framing,
            websocket: forward.websocket,
            via: via(Protocol::Http11, pseudonym),
        }
    }

    /// The bytes of the request line and all fields, with the empty line.
    #[must_use]
    pub fn head_length(&self) -> u64 {
        const LINE_EXTRA: usize = "  HTTP/1.1\r\n".len();
        const FIELD_EXTRA: usize = ": \r\n".len();
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_EXTRA).sum();
        let line = self.method.as_str().len() + self.path.as_str().len() + LINE_EXTRA;
        u64::try_from(line + fields + "\r\n".len()).unwrap_or(u64::MAX)
    }

    /// The bytes of head and body together, when the request says how long its body is.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Empty => Some(self.head_length()),
            Framing::Sized(body) => Some(self.head_length().saturating_add(body)),
            Framing::Chunked => None,
        }
    }

    /// Whether sending it a second time does no harm and needs nothing from the device (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        let bodiless = matches!(self.framing, Framing::Empty | Framing::Sized(0));
        bodiless && !self.websocket && self.method.is_idempotent()
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) fn asks_websocket(&self) -> bool {
        self.websocket
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The `Via` element that responses get.
    pub(super) fn via(&self) -> &HeaderValue {
        &self.via
    }

    pub(super) fn message<B>(&self, body: B) -> Request<B> {
        let mut message = Request::new(body);
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = Uri::from(self.path.clone());
        *message.version_mut() = Version::HTTP_11;
        *message.headers_mut() = self.headers.clone();
        message
    }
}

fn fields(forward: &Forward, via: HeaderValue) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(forward.headers.len() + 2);
    fields.insert(header::HOST, host(&forward.destination));
    for (name, value) in &hop::end_to_end(&forward.headers) {
        if !is_regenerated(name) && !hop::is_forged(name) {
            fields.append(name, value.clone());
        }
    }
    if let Some(hops) = hops_left(forward) {
        fields.insert(header::MAX_FORWARDS, HeaderValue::from(hops));
    }
    match forward.framing {
        Framing::Empty => {}
        Framing::Sized(length) => drop(fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
        Framing::Chunked => {
            drop(fields.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")));
        }
    }
    if forward.expects_continue {
        fields.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if forward.websocket {
        fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    fields.append(header::VIA, via);
    fields
}

fn is_regenerated(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name)
}

/// RFC 9110 §7.6.2: one hop fewer for OPTIONS. Zero has been refused before.
fn hops_left(forward: &Forward) -> Option<u64> {
    let hops: u64 = forward.headers.get(header::MAX_FORWARDS)?.to_str().ok()?.parse().ok()?;
    (forward.method == Method::OPTIONS).then(|| hops.saturating_sub(1))
}

/// The authority in canonical form; without the port when it is the scheme's own (RFC 9110 §4.2.1).
fn host(destination: &Destination) -> HeaderValue {
    let text = match (destination.port(), destination.host()) {
        (80, Host::Name(name)) => name.to_string(),
        (80, Host::Ip(std::net::IpAddr::V6(address))) => format!("[{address}]"),
        (80, Host::Ip(address)) => address.to_string(),
        _ => destination.to_string(),
    };
    HeaderValue::try_from(text).expect("a canonical host is visible ASCII")
}

fn via(protocol: Protocol, pseudonym: &Pseudonym) -> HeaderValue {
    let version = match protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
    };
    HeaderValue::try_from(format!("{version} {}", pseudonym.as_str())).expect("a pseudonym is a token")
}
