//! Where does a connection really come from? The PROXY protocol version 2, from load balancers that the settings name.
//!
//! From any other address a PROXY header is not looked for: it would be the first bytes of a TLS handshake and fails as
//! such. The address that a balancer tells is used in logs and events only; who a device is, its certificate says.

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::gateway::Gateway;

/// The fixed part of a header, in bytes.
const FIXED: usize = 16;
/// The most that may follow it, in bytes.
const LONGEST: usize = 2048;

/// Why a connection from a load balancer was turned away.
#[derive(Debug, thiserror::Error)]
pub enum ProxyProtocolFault {
    /// The header did not come in time.
    #[error("no proxy protocol header in time")]
    Late,
    /// The connection ended within the header.
    #[error("the connection ended within the proxy protocol header")]
    Io(#[from] io::Error),
    /// The header is not one of version 2.
    #[error("the proxy protocol header is malformed")]
    Malformed,
}

/// Reads the header if `from` is a load balancer that sends one, and returns the address it tells.
///
/// # Errors
/// When a header is due and does not come, or is malformed.
pub async fn read(
    gateway: &Gateway,
    mut socket: TcpStream,
    from: SocketAddr,
) -> Result<(TcpStream, SocketAddr), ProxyProtocolFault> {
    let settings = gateway.settings.load_full();
    if !settings.listen.proxy_protocol_from.iter().any(|network| network.contains(&from.ip())) {
        return Ok((socket, from));
    }
    let told = tokio::time::timeout(settings.deadlines.handshake, read_header(&mut socket, from)).await;
    let told = told.map_err(|_late| ProxyProtocolFault::Late)??;
    Ok((socket, told))
}

async fn read_header(socket: &mut TcpStream, from: SocketAddr) -> Result<SocketAddr, ProxyProtocolFault> {
    let mut header = vec![0; FIXED];
    socket.read_exact(&mut header).await?;
    let length = match header.get(14..FIXED) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => return Err(ProxyProtocolFault::Malformed),
    };
    if !header.starts_with(ppp::v2::PROTOCOL_PREFIX) || length > LONGEST {
        return Err(ProxyProtocolFault::Malformed);
    }
    header.resize(FIXED + length, 0);
    socket.read_exact(header.get_mut(FIXED..).unwrap_or_default()).await?;
    let parsed = Header::try_from(header.as_slice()).map_err(|_| ProxyProtocolFault::Malformed)?;
    Ok(match (parsed.command, parsed.addresses) {
        (Command::Proxy, Addresses::IPv4(told)) => (told.source_address, told.source_port).into(),
        (Command::Proxy, Addresses::IPv6(told)) => (told.source_address, told.source_port).into(),
        // LOCAL: the balancer speaks for itself, as in a health check. Unix addresses say nothing here.
        _ => from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[expect(clippy::disallowed_methods, reason = "a test speaks as a balancer does")]
    async fn told(bytes: &[u8]) -> Result<SocketAddr, ProxyProtocolFault> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bytes = bytes.to_vec();
        let address = listener.local_addr().unwrap();
        let sender = tokio::spawn(async move {
            let mut socket = tokio::net::TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            socket.write_all(&bytes).await.unwrap();
        });
        let (mut socket, from) = listener.accept().await.unwrap();
        let told = read_header(&mut socket, from).await;
        sender.await.unwrap();
        told
    }

    fn header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = ppp::v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        header.extend(payload);
        header
    }

    #[tokio::test]
    async fn the_address_that_a_balancer_tells_is_taken() {
        let payload = [192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0x20, 0xfb];
        assert_eq!(told(&header(1, 0x11, &payload)).await.unwrap(), "192.0.2.7:12345".parse().unwrap());
        let local = told(&header(0, 0x00, &[])).await.unwrap();
        assert!(local.ip().is_loopback());
    }

    #[tokio::test]
    async fn what_is_no_version_2_header_is_turned_away() {
        let short = header(1, 0x11, &[1, 2, 3]);
        let mut long = header(1, 0x11, &[0; 12]);
        long[14] = 0xff;
        for bytes in [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), vec![0; 32], short, long] {
            assert!(told(&bytes).await.is_err(), "{bytes:?}");
        }
    }
}
