//! Listeners for the machine they run on, in plain HTTP: to whom do they answer, and for how long?
//!
//! The admin listener of a gateway and the one of a control plane are made of this. [`Names`] turns away what only a
//! browser that was tricked would send; [`Bounded`] ends every connection; [`guard`] forbids to cache, frame or sniff an
//! answer. Knows nothing of what is answered.

mod bounded;
mod names;

use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue};

pub use bounded::Bounded;
pub use names::{Foreign, Names};

/// The fields that every answer carries: nothing is cached, framed, sniffed or executed.
#[must_use]
pub fn guard(mut response: Response) -> Response {
    let fields = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("content-security-policy"), "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}
