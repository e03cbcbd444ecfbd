//! What a device asks for: a tunnel to a destination, or one plain-HTTP request to forward.
//!
//! Reads request heads strictly: what two readers could take for two different requests is refused, never
//! repaired. HTTP/1 heads are checked byte by byte before any library sees them; HTTP/2 heads come decoded
//! from `h2` and pass the same checks. Later stages see only [`Request`] and do not know the protocol.
//! Relies on `config` for the canonical form of destinations. Never opens, reads or writes a stream, and
//! never looks behind the head: the bytes that follow are the caller's.
//!
//! Every refusal ends the connection (HTTP/1) or the stream (HTTP/2); what follows a refused head is never
//! parsed as another request.

mod agent;
mod fields;
mod head;
mod http2;
mod line;
mod route;
#[cfg(test)]
mod tests;

pub(crate) use line::is_field_line;

use std::sync::Arc;

use config::{AgentName, Destination, Reason};
use http::{HeaderMap, Method, uri::PathAndQuery};

/// One request head, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestHead {
    /// What is asked for.
    pub request: Request,
    /// The agent named by the proxy user name, if one was. The password is not kept.
    pub requested_agent: Option<AgentName>,
    /// The protocol the head came in.
    pub protocol: Protocol,
    /// The downstream connection can carry another request after this one.
    pub persistent: bool,
}

/// The two things that can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A tunnel (RFC 9110 §9.3.6).
    Connect(Destination),
    /// A plain-HTTP request to forward.
    Forward(Box<Forward>),
}

/// A plain-HTTP request as it was received, hop-by-hop fields and all.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Where to: from the target, never from `Host`.
    pub destination: Destination,
    /// One of the methods that are served; never CONNECT, never TRACE.
    pub method: Method,
    /// Path and query, byte for byte; `*` for OPTIONS without a path.
    pub path: PathAndQuery,
    /// The fields as received.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// The device waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The request asks to switch to WebSocket; then it is a GET without a body.
    pub websocket: bool,
}

/// How the end of a request body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// Exactly this many bytes.
    Sized(u64),
    /// Until it ends: in chunks over HTTP/1, at END_STREAM over HTTP/2. Forwarded in chunks.
    Chunked,
}

/// The protocol of a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0: Python's `http.client` asks for tunnels in it.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// Why a head is refused: the reason for everyone, and a static detail for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The reason given to the device and recorded.
    pub reason: Reason,
    /// Which rule was broken; a static clause that quotes nothing of the request.
    pub detail: &'static str,
}

impl Refused {
    pub(crate) const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail }
    }

    pub(crate) const fn malformed(detail: &'static str) -> Self {
        Self::new(Reason::MalformedRequest, detail)
    }
}

/// What heads are measured against. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The whole head with its final empty line.
    pub head_bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// The target of CONNECT.
    pub connect_target_bytes: usize,
    /// The target of any other request.
    pub target_bytes: usize,
    /// This gateway's name in `Via`, by which a loop is noticed.
    pub pseudonym: Pseudonym,
}

impl Rules {
    /// The limits that are promised, under this name.
    #[must_use]
    pub fn new(pseudonym: Pseudonym) -> Self {
        Self {
            head_bytes: 16 * 1024,
            fields: 64,
            connect_target_bytes: 512,
            target_bytes: 8 * 1024,
            pseudonym,
        }
    }
}

/// The name by which this gateway calls itself in `Via` (RFC 9110 §7.6.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym(Arc<str>);

impl Pseudonym {
    /// `portcullis-` and the gateway's name; what cannot stand in a token becomes `-`.
    #[must_use]
    pub fn of_gateway(name: &str) -> Self {
        let token = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        Self(Arc::from(format!("portcullis-{}", name.chars().map(token).collect::<String>())))
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
