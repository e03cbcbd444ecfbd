//! On which ports? The usual ones where they are free, else some that the system picks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Addresses that were free a moment ago, and the origin's listener, which is kept.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) device: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) pac: SocketAddr,
    pub(super) origin: SocketAddr,
    pub(super) origin_listener: TcpListener,
}

impl Ports {
    /// Finds four free ports of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn find() -> io::Result<Self> {
        // All are held until all are found, so that none is found twice.
        let (device, admin, pac, origin_listener) = (free(8443)?, free(9443)?, free(8080)?, free(9444)?);
        Ok(Self {
            device: device.local_addr()?,
            admin: admin.local_addr()?,
            pac: pac.local_addr()?,
            origin: origin_listener.local_addr()?,
            origin_listener,
        })
    }
}

fn free(usual: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_quickstart_finds_other_ports() {
        let first = Ports::find().unwrap();
        let second = Ports::find().unwrap();
        assert_ne!(first.origin, second.origin);
    }
}
