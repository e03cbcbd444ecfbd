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
    /// What is tried first: device, admin, PAC, origin.
    pub(super) const USUAL: [u16; 4] = [8443, 9443, 8080, 9444];

    /// Finds four free ports of 127.0.0.1, these if they are.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn find([device, admin, pac, origin]: [u16; 4]) -> io::Result<Self> {
        // All are held until all are found, so that none is found twice.
        let (device, admin, pac, origin_listener) = (free(device)?, free(admin)?, free(pac)?, free(origin)?);
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
    fn a_second_quickstart_finds_another_port_where_one_is_taken() {
        let first = Ports::find([0; 4]).unwrap();
        let taken = first.origin.port();
        let second = Ports::find([0, 0, 0, taken]).unwrap();
        assert_ne!(second.origin.port(), taken);
    }
}
