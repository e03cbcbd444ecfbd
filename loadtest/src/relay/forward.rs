//! How would plain HTTP run through a proxy that decides nothing? GET requests, one after the other, over one upstream connection.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{LONGEST_HEAD, at};
use crate::dial;
use crate::plain::length;

/// Serves a client whose first head has been read, until it closes.
pub(super) async fn serve(
    device: &mut (impl AsyncRead + AsyncWrite + Unpin),
    first: &[u8],
    early: Vec<u8>,
    hosts: &HashMap<String, Ipv4Addr>,
) -> anyhow::Result<()> {
    let mut head = first.to_vec();
    let mut unread = early;
    let mut upstream: Option<(SocketAddr, TcpStream)> = None;
    loop {
        let (address, request) = onward(&head, hosts).context("no destination")?;
        let origin = match &mut upstream {
            Some((at, stream)) if *at == address => stream,
            other => &mut other.insert((address, dial::dial_from_anywhere(address).await?)).1,
        };
        origin.write_all(&request).await?;
        let mut answer = Vec::new();
        let end = read_head(origin, &mut answer).await?.context("no answer")?;
        let whole =
            end + length(answer.get(..end).unwrap_or_default()).context("an answer without a length")?;
        while answer.len() < whole {
            if origin.read_buf(&mut answer).await? == 0 {
                bail!("half an answer");
            }
        }
        device.write_all(&answer).await?;
        device.flush().await?;
        let Some(end) = read_head(device, &mut unread).await? else { return Ok(()) };
        let rest = unread.split_off(end);
        head = std::mem::replace(&mut unread, rest);
    }
}

/// Reads until a head is whole, and says where it ends. `None` when the other side has closed.
async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
) -> anyhow::Result<Option<usize>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if bytes.len() > LONGEST_HEAD || stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Where a request in absolute form goes, and the same in origin form.
fn onward(head: &[u8], hosts: &HashMap<String, Ipv4Addr>) -> Option<(SocketAddr, Vec<u8>)> {
    let target = std::str::from_utf8(head).ok()?.strip_prefix("GET http://")?;
    let (authority, path) = target.split_at_checked(target.find('/')?)?;
    Some((at(authority, hosts)?, format!("GET {path}").into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_on_in_origin_form() {
        let hosts = HashMap::from([("o0.origin.test".to_owned(), Ipv4Addr::new(127, 0, 1, 1))]);
        let (address, request) =
            onward(b"GET http://o0.origin.test:80/a HTTP/1.1\r\nHost: x\r\n\r\n", &hosts).unwrap();
        assert_eq!(address, SocketAddr::from(([127, 0, 1, 1], 80)));
        assert_eq!(request, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(onward(b"GET http://example.com:80/ HTTP/1.1\r\n\r\n", &hosts).is_none());
        assert!(onward(b"GET / HTTP/1.1\r\n\r\n", &hosts).is_none());
    }
}
