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
    pub(super) api: SocketAddr,
    pub(super) gateways: SocketAddr,
    pub(super) ops: SocketAddr,
    pub(super) origin_listener: TcpListener,
}

impl Ports {
    /// What is tried first: device, admin, PAC, origin; the control plane's API, its listener for gateways, its health.
    pub(super) const USUAL: [u16; 7] = [8443, 9443, 8080, 9444, 7444, 7443, 7445];

    /// Finds seven free ports of 127.0.0.1, these if they are.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn find([device, admin, pac, origin, api, gateways, ops]: [u16; 7]) -> io::Result<Self> {
        // All are held until all are found, so that none is found twice.
        let (device, admin, pac, origin_listener) = (free(device)?, free(admin)?, free(pac)?, free(origin)?);
        let (api, gateways, ops) = (free(api)?, free(gateways)?, free(ops)?);
        Ok(Self {
            device: device.local_addr()?,
            admin: admin.local_addr()?,
            pac: pac.local_addr()?,
            origin: origin_listener.local_addr()?,
            api: api.local_addr()?,
            gateways: gateways.local_addr()?,
            ops: ops.local_addr()?,
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
        let first = Ports::find([0; 7]).unwrap();
        let taken = first.origin.port();
        let second = Ports::find([0, 0, 0, taken, 0, 0, 0]).unwrap();
        assert_ne!(second.origin.port(), taken);
    }
}
