//! An HTTP/1 request head, from raw bytes to a [`RequestHead`].
//!
//! The raw checks of `line` come first; then `httparse` splits the fields, and has to agree with what the
//! raw checks saw. Never consumes anything behind the head.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::line::{self, Lines, RequestLine};
use super::route::{self, Route};
use super::{Forward, Protocol, Refused, Request, RequestHead, Rules, agent, fields};

impl RequestHead {
    /// Reads the head at the start of `buffer`. `None`: it is not whole yet. Otherwise the head, and how
    /// many bytes it took; what follows belongs to the body or the tunnel.
    ///
    /// # Errors
    /// [`Refused`] for anything that is not beyond doubt. The connection has to be closed then.
    pub fn parse(buffer: &[u8], rules: &Rules) -> Result<Option<(Self, usize)>, Refused> {
        let Some(lines) = line::read(buffer, rules)? else {
            return Ok(None);
        };
        let protocol = protocol(lines.request.version)?;
        let headers = split_fields(&lines, rules)?;
        let route = route::read(&lines.request, rules)?;
        let head = Self::assemble(route, headers, protocol, rules)?;
        Ok(Some((head, lines.bytes.len())))
    }

    fn assemble(
        route: Route,
        headers: HeaderMap,
        protocol: Protocol,
        rules: &Rules,
    ) -> Result<Self, Refused> {
        fields::no_loop(&headers, &rules.pseudonym)?;
        let host = fields::host(&headers, protocol)?;
        let requested_agent = agent::requested(&headers)?;
        let persistent = fields::persistent(&headers, protocol);
        let request = match route {
            Route::Connect(destination) => {
                host.map_or(Ok(()), |host| fields::host_agrees(host, &destination))?;
                fields::no_content(&headers)?;
                Request::Connect(destination)
            }
            Route::Forward { destination, method, path } => {
                host.map_or(Ok(()), fields::host_is_valid)?;
                fields::has_hops_left(&headers, &method)?;
                let framing = fields::framing(&headers, protocol)?;
                let expects_continue = fields::expects_continue(&headers, protocol, framing)?;
                let websocket = fields::websocket(&headers, protocol, &method, framing)?;
                let forward =
                    Forward { destination, method, path, headers, framing, expects_continue, websocket };
                Request::Forward(Box::new(forward))
            }
        };
        Ok(Self { request, requested_agent, protocol, persistent })
    }
}

fn protocol(version: &[u8]) -> Result<Protocol, Refused> {
    match version {
        b"HTTP/1.1" => Ok(Protocol::Http11),
        b"HTTP/1.0" => Ok(Protocol::Http10),
        _ => Err(Refused::malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
    }
}

/// Splits the fields. A difference between the two readings of the request line would be a bug that
/// somebody could use, so it is refused too.
fn split_fields(lines: &Lines<'_>, rules: &Rules) -> Result<HeaderMap, Refused> {
    const DIFFERENT: Refused = Refused::malformed("the head cannot be read beyond doubt");
    let mut slots = vec![httparse::EMPTY_HEADER; rules.fields];
    let mut parsed = httparse::Request::new(&mut slots);
    let status = parsed.parse(lines.bytes).map_err(|_| DIFFERENT)?;
    if status != httparse::Status::Complete(lines.bytes.len()) || !agrees(&parsed, &lines.request) {
        return Err(DIFFERENT);
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| DIFFERENT)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| DIFFERENT)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn agrees(parsed: &httparse::Request<'_, '_>, line: &RequestLine<'_>) -> bool {
    parsed.method.map(str::as_bytes) == Some(line.method)
        && parsed.path.map(str::as_bytes) == Some(line.target)
        && parsed.version == Some(u8::from(line.version == b"HTTP/1.1"))
}
