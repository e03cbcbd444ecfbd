//! Method and target of an HTTP/1 request: what is asked for, and where.
//!
//! A forward proxy knows two forms (RFC 9112 §3.2): the authority of a CONNECT, and an absolute `http` URI
//! for everything else. Targets are never percent-decoded and never normalised. Never looks at a field.

use config::{Destination, Reason};
use http::{Method, uri::PathAndQuery};

use super::{Refused, Rules, line::RequestLine};

/// Where a request line leads.
pub(super) enum Route {
    Connect(Destination),
    Forward { destination: Destination, method: Method, path: PathAndQuery },
}

pub(super) fn read(line: &RequestLine<'_>, rules: &Rules) -> Result<Route, Refused> {
    let method = method(line.method)?;
    if method == Method::CONNECT {
        return connect(line.target, rules).map(Route::Connect);
    }
    if line.target.len() > rules.target_bytes {
        return Err(Refused::new(Reason::HeadTooLarge, "the target is too long"));
    }
    let rest = after_scheme(line.target)?;
    let authority_ends =
        rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_ends);
    let destination = Destination::parse_with_default_port(authority, 80).map_err(|_| {
        Refused::new(Reason::MalformedDestination, "the target's authority is not host and port")
    })?;
    let path = path_and_query(path, &method)?;
    Ok(Route::Forward { destination, method, path })
}

/// The methods that are served. TRACE would return the request to whoever injected into it.
pub(super) fn method(bytes: &[u8]) -> Result<Method, Refused> {
    const SERVED: [&str; 8] = ["CONNECT", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
    if SERVED.iter().any(|served| served.as_bytes() == bytes) {
        return Method::from_bytes(bytes).map_err(|_| Refused::malformed("the method is not a token"));
    }
    if bytes.eq_ignore_ascii_case(b"CONNECT") {
        return Err(Refused::malformed("the method is spelled like CONNECT, in another case"));
    }
    if !bytes.iter().all(|byte| super::line::is_token(*byte)) {
        return Err(Refused::malformed("the method is not a token"));
    }
    Err(Refused::new(Reason::MethodNotAllowed, "the method is not served"))
}

/// The authority of a CONNECT.
pub(super) fn connect(target: &[u8], rules: &Rules) -> Result<Destination, Refused> {
    if target.len() > rules.connect_target_bytes {
        return Err(Refused::new(Reason::MalformedDestination, "the target of CONNECT is too long"));
    }
    Destination::parse_authority(target)
        .map_err(|_| Refused::new(Reason::MalformedDestination, "the target of CONNECT is not host and port"))
}

/// What stands behind `http://`. Any other scheme, and any other form of target, is refused.
fn after_scheme(target: &[u8]) -> Result<&[u8], Refused> {
    match target.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http://") => Ok(rest),
        _ => Err(Refused::malformed("the target is not an absolute http URI")),
    }
}

/// The rest of the target, opaque: visible ASCII without a fragment. An empty path is `/`, or `*` for
/// OPTIONS (RFC 9112 §3.2.4).
pub(super) fn path_and_query(bytes: &[u8], method: &Method) -> Result<PathAndQuery, Refused> {
    const INVALID: Refused = Refused::malformed("the path has a character that no path has");
    if bytes.is_empty() {
        let whole = if *method == Method::OPTIONS { "*" } else { "/" };
        return Ok(PathAndQuery::from_static(whole));
    }
    if !bytes.iter().all(|byte| matches!(byte, 0x21..0x7f) && *byte != b'#') {
        return Err(INVALID);
    }
    let rooted = match bytes {
        [b'/', ..] => bytes.to_vec(),
        [b'?', ..] => [b"/", bytes].concat(),
        b"*" if *method == Method::OPTIONS => bytes.to_vec(),
        _ => return Err(INVALID),
    };
    PathAndQuery::try_from(rooted).map_err(|_| INVALID)
}
