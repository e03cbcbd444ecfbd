//! An HTTP/2 request head, as `h2` decoded it, to the same [`RequestHead`].
//!
//! `h2` resets streams whose pseudo-fields or connection-specific fields break RFC 9113 §8; it lets pass an
//! authority that is none, and this is where those end. Never trusts `http::Uri` with the port: it takes
//! `a:65536` and says there is none. A refusal ends the one stream, never the connection.

use config::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use super::{Forward, Framing, Protocol, Refused, Request, RequestHead, Rules, agent, fields, route};

impl RequestHead {
    /// Reads the head of one stream. `ended`: END_STREAM came with it, so there is no body.
    ///
    /// # Errors
    /// [`Refused`] for anything that is not beyond doubt. The stream has to be ended then.
    pub fn from_h2(parts: &Parts, ended: bool, rules: &Rules) -> Result<Self, Refused> {
        let headers = &parts.headers;
        if headers.len() > rules.fields {
            return Err(Refused::new(Reason::HeadTooLarge, "the head has too many fields"));
        }
        no_connection_fields(headers)?;
        fields::no_loop(headers, &rules.pseudonym)?;
        let requested_agent = agent::requested(headers)?;
        let method = route::method(parts.method.as_str().as_bytes())?;
        let request = if method == Method::CONNECT {
            connect(parts, rules)?
        } else {
            Request::Forward(Box::new(forward(parts, method, ended, rules)?))
        };
        Ok(Self { request, requested_agent, protocol: Protocol::Http2, persistent: true })
    }
}

/// RFC 9113 §8.5: `:authority` alone. Extended CONNECT (RFC 8441) is never offered.
fn connect(parts: &Parts, rules: &Rules) -> Result<Request, Refused> {
    let uri = &parts.uri;
    if uri.scheme().is_some() || uri.path_and_query().is_some() {
        return Err(Refused::malformed("CONNECT with a scheme or a path"));
    }
    if parts.extensions.get::<h2::ext::Protocol>().is_some() {
        return Err(Refused::malformed("extended CONNECT is not served"));
    }
    let authority = uri.authority().ok_or(NO_AUTHORITY)?;
    let destination = route::connect(authority.as_str().as_bytes(), rules)?;
    if let Some(host) = fields::host(&parts.headers, Protocol::Http2)? {
        fields::host_agrees(host, &destination)?;
    }
    fields::no_content(&parts.headers)?;
    Ok(Request::Connect(destination))
}

const NO_AUTHORITY: Refused = Refused::malformed("the request has no authority");

/// RFC 9113 §8.3.1, with `:authority` required: a request that names its host only in `Host` is refused.
fn forward(parts: &Parts, method: Method, ended: bool, rules: &Rules) -> Result<Forward, Refused> {
    let uri = &parts.uri;
    if uri.scheme_str() != Some("http") {
        return Err(Refused::malformed("the scheme is not http"));
    }
    let authority = uri.authority().ok_or(NO_AUTHORITY)?;
    let destination = config::Destination::parse_with_default_port(authority.as_str().as_bytes(), 80)
        .map_err(|_| Refused::new(Reason::MalformedDestination, "the authority is not host and port"))?;
    if let Some(host) = fields::host(&parts.headers, Protocol::Http2)? {
        agrees_with_default(host, &destination)?;
    }
    let path = uri.path_and_query().map(|path| path.as_str().as_bytes()).unwrap_or_default();
    if path.len() > rules.target_bytes {
        return Err(Refused::new(Reason::HeadTooLarge, "the path is too long"));
    }
    let path = route::path_and_query(path, &method)?;
    fields::has_hops_left(&parts.headers, &method)?;
    let framing = framing(&parts.headers, ended)?;
    let expects_continue = fields::expects_continue(&parts.headers, Protocol::Http2, framing)?;
    let headers = joined_cookies(&parts.headers)?;
    Ok(Forward { destination, method, path, headers, framing, expects_continue, websocket: false })
}

fn agrees_with_default(host: &HeaderValue, destination: &config::Destination) -> Result<(), Refused> {
    match config::Destination::parse_with_default_port(host.as_bytes(), 80) {
        Ok(named) if named == *destination => Ok(()),
        _ => Err(Refused::malformed("the Host field and the authority differ")),
    }
}

fn framing(headers: &HeaderMap, ended: bool) -> Result<Framing, Refused> {
    match (fields::content_length(headers)?, ended) {
        (None, true) => Ok(Framing::Empty),
        (Some(0), _) => Ok(Framing::Sized(0)),
        (Some(_), true) => Err(Refused::malformed("the request has ended before its content")),
        (Some(length), false) => Ok(Framing::Sized(length)),
        (None, false) => Ok(Framing::Chunked),
    }
}

/// RFC 9113 §8.2.2.
fn no_connection_fields(headers: &HeaderMap) -> Result<(), Refused> {
    let named = [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    let te =
        headers.get_all(header::TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if te || named.iter().any(|name| headers.contains_key(name)) {
        return Err(Refused::malformed("the request has a connection-specific field"));
    }
    Ok(())
}

/// RFC 9113 §8.2.3: cookies may come in crumbs, and HTTP/1 knows only one field.
fn joined_cookies(headers: &HeaderMap) -> Result<HeaderMap, Refused> {
    let mut joined = headers.clone();
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let whole = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
            .map_err(|_| Refused::malformed("the cookies are not a field value"))?;
        joined.insert(header::COOKIE, whole);
    }
    Ok(joined)
}
