//! From where does the load come? TCP connections from several loopback addresses, so that ports do not run out.
//!
//! The only place that opens connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// Addresses that connections to a proxy on loopback come from: each has some 28,000 ports.
const SOURCES: u8 = 16;
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection to `to`; `number` picks the source address when `to` is on loopback.
///
/// # Errors
/// When nobody listens, or nobody answers in time.
#[expect(clippy::disallowed_methods, reason = "the load reaches the proxy as devices do")]
pub(crate) async fn dial(to: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = if to.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if let Some(source) = source(to.ip(), number) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = tokio::time::timeout(PATIENCE, socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection from whatever address the system picks: what a proxy makes.
///
/// # Errors
/// When nobody listens, or nobody answers in time.
#[expect(clippy::disallowed_methods, reason = "the bare relay reaches the origin")]
pub(crate) async fn dial_from_anywhere(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether somebody accepts connections there, without async.
#[expect(clippy::disallowed_methods, reason = "asks whether a peer has started")]
pub(crate) fn listens(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

/// A connection to the API of a control plane, without async.
///
/// # Errors
/// When nobody listens.
#[expect(clippy::disallowed_methods, reason = "orders a revocation as an operator's program does")]
pub(crate) fn dial_control(api: SocketAddr, patience: Duration) -> io::Result<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(api)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The address that a connection to `to` comes from; `None` when the system picks it.
pub(crate) fn source(to: IpAddr, number: usize) -> Option<IpAddr> {
    let turn = u8::try_from(number % usize::from(SOURCES)).unwrap_or(0);
    let on_loopback = matches!(to, IpAddr::V4(to) if to.is_loopback());
    on_loopback.then(|| Ipv4Addr::new(127, 0, 2, turn + 1).into())
}

/// One request of the admin port and its whole answer, without async: for the moments before a runtime exists.
///
/// # Errors
/// When nobody listens, or the answer does not come in time.
#[expect(clippy::disallowed_methods, reason = "asks the gateway under test whether it is ready")]
pub(crate) fn ask(admin: SocketAddr, path: &str) -> io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_round_on_loopback_only() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(source(loopback, 0), Some([127, 0, 2, 1].into()));
        assert_eq!(source(loopback, 17), Some([127, 0, 2, 2].into()));
        assert_eq!(source([10, 0, 0, 1].into(), 3), None);
        assert_eq!(source(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 3), None);
    }
}
