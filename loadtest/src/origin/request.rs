//! How does the origin answer HTTP? Requests of HTTP/1.1 one after the other; the body of an answer is the `Host` of its request.
//!
//! So whoever asks sees what a proxy made of it. Heads are read for framing only: it serves the load, not the world.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Order, Watch};

/// The longest head, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// Whether the first bytes of a connection are those of a request.
pub(super) fn begins(bytes: &[u8; Order::LENGTH]) -> bool {
    [&b"GET /"[..], b"POST /", b"PUT /", b"HEAD /"].iter().any(|method| bytes.starts_with(method))
}

/// Answers until the connection ends.
pub(super) async fn answer_all(stream: &mut TcpStream, first: &[u8], watch: &Watch) -> io::Result<()> {
    let mut unread = first.to_vec();
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break end + 4;
            }
            if unread.len() > LONGEST_HEAD || !more(stream, &mut unread, watch).await? {
                return Ok(());
            }
        };
        let rest = unread.split_off(end);
        let head = std::mem::replace(&mut unread, rest);
        let Some(Head { host, length }) = Head::read(&head) else { return Ok(()) };
        while unread.len() < length {
            if !more(stream, &mut unread, watch).await? {
                return Ok(());
            }
        }
        unread.drain(..length);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}", host.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn more(stream: &mut TcpStream, unread: &mut Vec<u8>, watch: &Watch) -> io::Result<bool> {
    let read = stream.read_buf(unread).await?;
    watch.took(read);
    Ok(read > 0)
}

/// What counts of a request's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    host: String,
    length: usize,
}

impl Head {
    /// `None` when its body has no stated length: nobody asks so here.
    fn read(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let mut read = Self { host: String::new(), length: 0 };
        for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(':')) {
            match name.to_ascii_lowercase().as_str() {
                "host" => value.trim().clone_into(&mut read.host),
                "content-length" => read.length = value.trim().parse().ok()?,
                "transfer-encoding" => return None,
                _ => {}
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_an_order() {
        assert!(begins(b"GET / HTT") && begins(b"POST /a H"));
        for order in [super::Order::Echo, super::Order::Take(u64::MAX), super::Order::Give(1 << 40)] {
            assert!(!begins(&order.bytes()), "{order:?}");
        }
    }

    #[test]
    fn a_head_is_read_for_its_framing() {
        let read = |head: &str| Head::read(head.as_bytes());
        let head = |host: &str, length| Some(Head { host: host.into(), length });
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n"), head("a:80", 0));
        assert_eq!(read("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"), head("a", 3));
        assert_eq!(read("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
        assert_eq!(read("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), None);
    }
}
