//! Which header fields end at this hop (RFC 9110 §7.6.1), in both directions.
//!
//! A request also loses what only a proxy may say: who the device is told to the origin by nobody. Never
//! touches the fields by which a message is delimited or addressed: those are regenerated.

use http::{HeaderMap, HeaderName, header};

/// The fields of a message that may go further.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_named = named.iter().any(|option| option == name.as_str());
        let dropped = ends_here(name) || (is_named && !is_critical(name));
        if !dropped {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Whether a field of a request claims to come from a proxy, or names the device or its user.
pub(super) fn is_forged(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "forwarded"
        || name == "x-real-ip"
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-portcullis-")
}

fn ends_here(name: &HeaderName) -> bool {
    const ALWAYS: [HeaderName; 5] =
        [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];
    ALWAYS.contains(name)
        || matches!(name.as_str(), "keep-alive" | "http2-settings")
        || name.as_str().starts_with("proxy-")
}

/// What `Connection` must not take away: address, length, and the trace of a loop.
fn is_critical(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::VIA].contains(name)
}

fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|option| String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase())
        .collect()
}
