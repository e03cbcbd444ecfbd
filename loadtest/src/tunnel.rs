//! How does a tunnel open? TCP, mTLS, CONNECT, and the order for the origin behind it.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::dial;
use crate::origin::Order;
use crate::subject::Subject;

/// The client's end of a tunnel.
pub(crate) type Tunnel = TlsStream<TcpStream>;

/// The longest answer to a CONNECT that is read, in bytes.
const LONGEST_ANSWER: usize = 4096;
/// Tunnels that open at once.
const AT_ONCE: usize = 64;

/// Opens one tunnel and sends the order. `number` picks source and destination address.
///
/// # Errors
/// At which step, and what the proxy said.
pub(crate) async fn open(subject: &Subject, number: usize, order: Order) -> anyhow::Result<Tunnel> {
    let stream = dial(subject.address, number).await.context("reaching the proxy")?;
    let connector = TlsConnector::from(subject.tls.clone());
    let mut stream =
        connector.connect(subject.server_name.clone(), stream).await.context("the TLS handshake")?;
    let destination = subject.destination(number);
    let head = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.context("sending CONNECT")?;
    stream.flush().await?;
    let answer = answer(&mut stream).await.context("awaiting the answer to CONNECT")?;
    if !is_success(&answer) {
        bail!("{} refused {destination}: {}", subject.name, String::from_utf8_lossy(&answer).trim_end());
    }
    stream.write_all(&order.bytes()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Opens `count` tunnels, many at once; those of a lower number come first in the answer.
///
/// # Errors
/// The first that does not open.
pub(crate) async fn open_many(subject: &Subject, count: usize, order: Order) -> anyhow::Result<Vec<Tunnel>> {
    let mut opening = JoinSet::new();
    let mut opened = Vec::with_capacity(count);
    for number in 0..count {
        if opening.len() >= AT_ONCE {
            opened.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let subject = subject.clone();
        opening.spawn(async move {
            let tunnel = open(&subject, number, order).await;
            tunnel.map(|tunnel| (number, tunnel)).with_context(|| format!("tunnel {number}"))
        });
    }
    while let Some(tunnel) = opening.join_next().await {
        opened.push(tunnel??);
    }
    opened.sort_unstable_by_key(|(number, _)| *number);
    Ok(opened.into_iter().map(|(_, tunnel)| tunnel).collect())
}

/// Reads the head of the answer, and the body of a refusal as far as it has come with it.
async fn answer(stream: &mut Tunnel) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(answer);
        }
        if answer.len() > LONGEST_ANSWER {
            bail!("no end of its head after {LONGEST_ANSWER} bytes");
        }
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection closed");
        }
    }
}

fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.0 2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_opens_a_tunnel() {
        for (answer, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\n\r\n", true),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", false),
            ("SSH-2.0", false),
        ] {
            assert_eq!(is_success(answer.as_bytes()), expected, "{answer}");
        }
    }
}
