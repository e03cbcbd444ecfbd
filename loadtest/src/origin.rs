//! Where do the tunnels lead? A TCP origin on several loopback addresses that does what the first bytes of a connection
//! order, and answers HTTP when they are a request.
//!
//! It is part of the load process, so that what clients and origin see is told by one clock.

mod order;
mod request;
mod watch;

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use order::Order;
pub(crate) use watch::{Seen, Watch};

/// Addresses that the origin listens on: from one address a proxy can reach each by some 28,000 ports.
const ADDRESSES: u8 = 8;
/// How often another port is tried when one is taken on one of the addresses.
const ATTEMPTS: usize = 20;
/// How much is read or written at a time, in bytes.
pub(crate) const PIECE: usize = 64 * 1024;

/// The suffix of the names under which proxies know the origin.
pub(crate) const SUFFIX: &str = "origin.test";

/// The origin's sockets, bound before there is a runtime to serve them.
#[derive(Debug)]
pub(crate) struct Origin {
    listeners: Vec<StdListener>,
    /// The port, the same on every address.
    pub(crate) port: u16,
}

impl Origin {
    /// Takes a port that is free on all the addresses.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn bind() -> anyhow::Result<Self> {
        let mut attempts = (0..ATTEMPTS).map(|_| Self::attempt());
        attempts.find_map(Result::ok).context("no port is free on all addresses of the origin")
    }

    fn attempt() -> std::io::Result<Self> {
        let mut listeners = Vec::new();
        let mut port = 0;
        for address in addresses() {
            let listener = StdListener::bind(SocketAddr::new(address.into(), port))?;
            port = listener.local_addr()?.port();
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        Ok(Self { listeners, port })
    }

    /// One address at a port that the caller chose, for a proxy that runs elsewhere.
    ///
    /// # Errors
    /// When it is taken.
    pub(crate) fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = StdListener::bind(address).with_context(|| format!("the origin at {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self { port: listener.local_addr()?.port(), listeners: vec![listener] })
    }

    /// Its first address.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listeners.first().context("the origin listens nowhere")?.local_addr()?)
    }

    /// The names by which a proxy is asked for it, and what each resolves to.
    pub(crate) fn names(&self) -> Vec<(String, Ipv4Addr)> {
        addresses().enumerate().map(|(number, address)| (format!("o{number}.{SUFFIX}"), address)).collect()
    }

    /// Serves until the runtime ends.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub(crate) fn serve(self, watch: &Arc<Watch>) -> anyhow::Result<()> {
        for listener in self.listeners {
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(accept(listener, Arc::clone(watch)));
        }
        Ok(())
    }
}

fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    (1..=ADDRESSES).map(|number| Ipv4Addr::new(127, 0, 1, number))
}

async fn accept(listener: TcpListener, watch: Arc<Watch>) {
    // An origin that cannot accept shows itself as tunnels that do not open.
    while let Ok((stream, _)) = listener.accept().await {
        let watch = Arc::clone(&watch);
        watch.accepted();
        tokio::spawn(async move {
            // A connection that breaks is what some scenarios are about; whoever drives it sees that it did.
            let _broken = obey(stream, &watch).await;
            watch.over();
        });
    }
}

async fn obey(mut stream: TcpStream, watch: &Watch) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let head = head(&mut stream, watch).await?;
        if request::begins(&head) {
            return request::answer_all(&mut stream, &head, watch).await;
        }
        match Order::read(head) {
            Some(Order::Echo) => return echo(&mut stream, watch).await,
            Some(Order::Watch) => return note(&mut stream, watch).await,
            Some(Order::Take(length)) => take(&mut stream, length, watch).await?,
            Some(Order::Give(length)) => give(&mut stream, length).await?,
            None => return Ok(()),
        }
    }
}

/// Reads an order. Every byte counts, those of an order that never becomes whole too.
async fn head(stream: &mut TcpStream, watch: &Watch) -> std::io::Result<[u8; Order::LENGTH]> {
    let mut head = [0; Order::LENGTH];
    let mut unread = head.as_mut_slice();
    while !unread.is_empty() {
        let read = stream.read(unread).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        watch.took(read);
        unread = unread.get_mut(read..).unwrap_or_default();
    }
    Ok(head)
}

async fn echo(stream: &mut TcpStream, watch: &Watch) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let echoed = tokio::io::copy(&mut reader, &mut writer).await?;
    watch.took(usize::try_from(echoed).unwrap_or(usize::MAX));
    writer.shutdown().await
}

async fn note(stream: &mut TcpStream, watch: &Watch) -> std::io::Result<()> {
    let mut piece = [0; 512];
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            read => {
                watch.received();
                watch.took(read);
            }
        }
    }
}

async fn take(stream: &mut TcpStream, length: u64, watch: &Watch) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            read => {
                watch.took(read);
                left = left.saturating_sub(read as u64);
            }
        }
    }
    stream.write_all(b".").await
}

async fn give(stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
    let piece = vec![b'.'; PIECE];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        stream.write_all(piece.get(..now).unwrap_or_default()).await?;
        left -= now as u64;
    }
    Ok(())
}
