//! What can break a forwarded request, and on which side.
//!
//! An error of the upstream stream travels inside [`Fault::Upstream`] with its sources, so that whoever gave
//! the stream can find what it raised (a spent budget, a revocation). Never maps to a status: that is the
//! session's to do.

use std::error::Error;
use std::io;

/// Why a request body cannot be forwarded further.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// The chunked coding is violated. Nothing behind the violation is forwarded.
    #[error("the chunked body is malformed: {0}")]
    Malformed(&'static str),
    /// The downstream ended inside the body.
    #[error("the downstream ended within the request body")]
    Truncated,
    /// Reading from the downstream failed.
    #[error("the request body could not be read")]
    Downstream(#[source] io::Error),
}

/// What broke an exchange.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The request body. When it is malformed the device is to blame and, if the answer has not begun, told.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The response could not be written to the device.
    #[error("the response could not be written downstream")]
    Downstream(#[source] io::Error),
    /// The upstream stream failed, or what came from it is not HTTP/1.
    #[error("the upstream connection failed")]
    Upstream(#[source] hyper::Error),
    /// The response is HTTP, but not one that may be passed on.
    #[error("the response cannot be passed on: {0}")]
    Response(&'static str),
}

impl Fault {
    /// Whether a pooled connection had been closed before it was used again: the origin has not acted on
    /// the request, or (for all that can be known) only on one that may be repeated.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let Self::Upstream(fault) = self else {
            return false;
        };
        let closed = fault.is_incomplete_message() || fault.is_canceled() || fault.is_closed();
        closed || self.io().is_some_and(|error| is_disconnect(error.kind()))
    }

    /// The I/O error at the bottom, if there is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

fn is_disconnect(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}
