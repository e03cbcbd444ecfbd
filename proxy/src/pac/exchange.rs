//! What is the answer to one request for the PAC file? Bytes in, bytes out.
//!
//! Fixed answers: nothing of the request comes back. Every answer closes the connection, so a body or a second request
//! behind the first is never looked at.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest head that is read, in bytes.
pub(super) const LONGEST_HEAD: usize = 8 * 1024;
const MOST_FIELDS: usize = 64;

/// What a head so far amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The head is not complete yet.
    More,
    /// `GET /proxy.pac`.
    Pac,
    /// Another path.
    Other,
    /// Another method.
    Method,
    /// Not HTTP, or too long.
    Malformed,
}

/// Reads as much of a request head as has arrived.
pub(super) fn asked(head: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() < LONGEST_HEAD => Asked::More,
        Ok(httparse::Status::Partial) | Err(_) => Asked::Malformed,
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some("GET"), Some(target)) if is_pac(target) => Asked::Pac,
            (Some("GET"), _) => Asked::Other,
            _ => Asked::Method,
        },
    }
}

/// A query is ignored: fleets add one to get past a cache.
fn is_pac(target: &str) -> bool {
    target.split('?').next() == Some("/proxy.pac")
}

/// The whole answer; `None` while the request is incomplete.
pub(super) fn answer(asked: Asked, file: &Bytes) -> Option<Bytes> {
    match asked {
        Asked::More => None,
        Asked::Pac => {
            let fields =
                "Content-Type: application/x-ns-proxy-autoconfig\r\nCache-Control: public, max-age=300\r\n";
            Some(response("200 OK", fields, file))
        }
        Asked::Other => Some(response("404 Not Found", PLAIN, b"only /proxy.pac is served here\n")),
        Asked::Method => {
            let fields = format!("{PLAIN}Allow: GET\r\n");
            Some(response("405 Method Not Allowed", &fields, b"only GET is served here\n"))
        }
        Asked::Malformed => Some(response("400 Bad Request", PLAIN, b"malformed request\n")),
    }
}

const PLAIN: &str = "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n";

fn response(status: &str, fields: &str, body: &[u8]) -> Bytes {
    let mut answer = BytesMut::with_capacity(256 + body.len());
    let head = format!(
        "HTTP/1.1 {status}\r\n{fields}X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    answer.put_slice(head.as_bytes());
    answer.put_slice(body);
    answer.freeze()
}
