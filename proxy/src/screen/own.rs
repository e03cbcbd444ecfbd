//! Which addresses are the gateway's own: everything on loopback, every interface address, and what its listeners are
//! bound to.
//!
//! Interfaces come and go while the gateway runs, so [`OwnAddresses::refresh`] is called every few seconds; readers
//! never wait for it. Between an address appearing and the next refresh, `dial` still notices a connection that ended
//! at home (both ends have the same address) and aborts it before a byte is written.
//!
//! Never opens a socket, never resolves a name.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use arc_swap::ArcSwap;

/// The gateway's own addresses, as last seen.
#[derive(Debug)]
pub(super) struct OwnAddresses {
    bound: Vec<SocketAddr>,
    interfaces: ArcSwap<HashSet<IpAddr>>,
}

impl OwnAddresses {
    /// Reads the interfaces once; `bound` are the addresses of the gateway's listeners, all of them.
    pub(super) fn new(bound: &[SocketAddr]) -> io::Result<Self> {
        let bound = bound.iter().map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port())).collect();
        Ok(Self { bound, interfaces: ArcSwap::from_pointee(interface_addresses()?) })
    }

    /// Reads the interfaces again. `Ok(true)` when they changed; on a fault the last known addresses stay.
    pub(super) fn refresh(&self) -> io::Result<bool> {
        let seen = interface_addresses()?;
        let changed = **self.interfaces.load() != seen;
        if changed {
            self.interfaces.store(seen.into());
        }
        Ok(changed)
    }

    /// Whether a connection to `ip` would end at this machine.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        ip.is_loopback()
            || self.bound.iter().any(|addr| addr.ip() == ip)
            || self.interfaces.load().contains(&ip)
    }

    /// Whether any listener of the gateway, on whichever address, uses `port`.
    pub(super) fn listens_on(&self, port: u16) -> bool {
        self.bound.iter().any(|addr| addr.port() == port)
    }
}

fn interface_addresses() -> io::Result<HashSet<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address);
    Ok(addresses.filter_map(|address| ip_of(&address)).collect())
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4().or_else(v6)
}
