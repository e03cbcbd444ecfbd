//! Which agent the proxy user name names: `https://cowork-v1.0@gateway:8443`.
//!
//! The name only chooses among the manifests of a device that its certificate has already proven. The
//! password is ignored and never kept. Never authenticates anybody.

use base64::{Engine, engine::general_purpose};
use config::AgentName;
use http::{HeaderMap, header};

use super::{Refused, fields};

/// The agent named in `Proxy-Authorization: Basic`, if any.
///
/// A user name that cannot be an agent is refused rather than ignored: the device's only manifest would
/// apply instead, which is not what was asked for. Other schemes say nothing about an agent.
pub(super) fn requested(headers: &HeaderMap) -> Result<Option<AgentName>, Refused> {
    const TWICE: &str = "the request has two Proxy-Authorization fields";
    let Some(value) = fields::single(headers, header::PROXY_AUTHORIZATION, TWICE)? else {
        return Ok(None);
    };
    let Some(encoded) = basic(value.as_bytes()) else {
        return Ok(None);
    };
    let credentials = general_purpose::STANDARD
        .decode(encoded)
        .map_err(|_| Refused::malformed("the proxy credentials are not Base64"))?;
    let user = credentials.split(|byte| *byte == b':').next().unwrap_or_default();
    if user.is_empty() {
        return Ok(None);
    }
    std::str::from_utf8(user)
        .ok()
        .and_then(|name| AgentName::new(name).ok())
        .map(Some)
        .ok_or(Refused::malformed("the proxy user name is not the name of an agent"))
}

/// What follows the scheme, when it is Basic (RFC 7617).
fn basic(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
}
