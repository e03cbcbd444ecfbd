//! How does a tunnel open? A connection of its own or a shared one, CONNECT, and the order for the origin behind it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::task::JoinSet;

use crate::link::Link;
use crate::origin::Order;
use crate::stream::{Shared, Stream};
use crate::subject::{Protocol, Subject};

/// The longest answer to a CONNECT that is read, in bytes.
const LONGEST_ANSWER: usize = 4096;
/// Tunnels that open at once.
const AT_ONCE: usize = 64;

/// The client's end of a tunnel.
#[derive(Debug)]
pub(crate) enum Tunnel {
    /// With a connection of its own.
    Alone(Link),
    /// On a shared connection.
    Beside(Stream),
}

/// Where a client asks for tunnels, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// A new connection each time.
    Fresh,
    /// One that stays open.
    Open(Shared),
}

impl Door {
    /// As the subject's protocol wants it; `number` picks the source address.
    ///
    /// # Errors
    /// When a shared connection cannot be made.
    pub(crate) async fn of(subject: &Subject, number: usize) -> anyhow::Result<Self> {
        match subject.protocol {
            Protocol::H1 => Ok(Self::Fresh),
            Protocol::H2 { .. } => Ok(Self::Open(Shared::over(Link::to(subject, number).await?).await?)),
        }
    }

    /// Opens a tunnel and sends the order. `number` picks source and destination address.
    ///
    /// # Errors
    /// At which step, and what the proxy said.
    pub(crate) async fn open(
        &self,
        subject: &Subject,
        number: usize,
        order: Order,
    ) -> anyhow::Result<Tunnel> {
        let mut tunnel = self.open_bare(subject, number).await?;
        tunnel.write_all(&order.bytes()).await?;
        tunnel.flush().await?;
        Ok(tunnel)
    }

    async fn open_bare(&self, subject: &Subject, number: usize) -> anyhow::Result<Tunnel> {
        let destination = subject.destination(number);
        match self {
            Self::Fresh => {
                let link = Link::to(subject, number).await?;
                Ok(Tunnel::Alone(connect(subject, link, destination).await?))
            }
            Self::Open(shared) => Ok(Tunnel::Beside(shared.connect(subject, destination).await?)),
        }
    }
}

impl Tunnel {
    /// Whether the connection below was made by resuming an earlier session. Not known of a shared one.
    pub(crate) fn is_resumed(&self) -> bool {
        match self {
            Self::Alone(link) => link.is_resumed(),
            Self::Beside(_) => false,
        }
    }
}

/// Opens one tunnel and sends the order. `number` picks source and destination address.
///
/// # Errors
/// At which step, and what the proxy said.
pub(crate) async fn open(subject: &Subject, number: usize, order: Order) -> anyhow::Result<Tunnel> {
    Door::of(subject, number).await?.open(subject, number, order).await
}

/// Opens one tunnel and sends nothing.
///
/// # Errors
/// At which step, and what the proxy said.
pub(crate) async fn open_bare(subject: &Subject, number: usize) -> anyhow::Result<Tunnel> {
    Door::of(subject, number).await?.open_bare(subject, number).await
}

/// Opens `count` tunnels, many at once, on as few connections as the protocol allows; those of a lower number come first in
/// the answer.
///
/// # Errors
/// The first that does not open.
pub(crate) async fn open_many(subject: &Subject, count: usize, order: Order) -> anyhow::Result<Vec<Tunnel>> {
    let share = match subject.protocol {
        Protocol::H1 => count.max(1),
        Protocol::H2 { streams } => streams.max(1),
    };
    let mut opening = JoinSet::new();
    let mut opened = Vec::with_capacity(count);
    let mut door = Door::Fresh;
    for number in 0..count {
        if number % share == 0 {
            door = Door::of(subject, number).await?;
        }
        if opening.len() >= AT_ONCE {
            opened.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let (subject, door) = (subject.clone(), door.clone());
        opening.spawn(async move {
            let tunnel = door.open(&subject, number, order).await;
            tunnel.map(|tunnel| (number, tunnel)).with_context(|| format!("tunnel {number}"))
        });
    }
    while let Some(tunnel) = opening.join_next().await {
        opened.push(tunnel??);
    }
    opened.sort_unstable_by_key(|(number, _)| *number);
    Ok(opened.into_iter().map(|(_, tunnel)| tunnel).collect())
}

async fn connect(subject: &Subject, mut link: Link, destination: &str) -> anyhow::Result<Link> {
    let head = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n");
    link.write_all(head.as_bytes()).await.context("sending CONNECT")?;
    link.flush().await?;
    let answer = answer(&mut link).await.context("awaiting the answer to CONNECT")?;
    if !is_success(&answer) {
        bail!("{} refused {destination}: {}", subject.name, String::from_utf8_lossy(&answer).trim_end());
    }
    Ok(link)
}

/// Reads the head of the answer, and the body of a refusal as far as it has come with it.
async fn answer(link: &mut Link) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(answer);
        }
        if answer.len() > LONGEST_ANSWER {
            bail!("no end of its head after {LONGEST_ANSWER} bytes");
        }
        if link.read_buf(&mut answer).await? == 0 {
            bail!("the connection closed");
        }
    }
}

fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.0 2")
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Alone(link) => Pin::new(link).poll_read(context, into),
            Self::Beside(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Alone(link) => Pin::new(link).poll_write(context, bytes),
            Self::Beside(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Alone(link) => Pin::new(link).poll_flush(context),
            Self::Beside(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Alone(link) => Pin::new(link).poll_shutdown(context),
            Self::Beside(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
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
