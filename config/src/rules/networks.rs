//! Addresses by longest prefix: for each prefix length that occurs, a sorted run of networks.
//!
//! IPv4 and IPv6 networks are never compared with one another, not even `::/0` with an IPv4 address.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

use super::index::Group;

/// A network, ordered so that longer prefixes come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NetworksKey {
    length: Reverse<u8>,
    family: Family,
    bits: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl NetworksKey {
    pub(super) fn of(network: IpNet) -> Self {
        Self::cut(network.addr(), network.prefix_len())
    }

    /// The network of this length around an address.
    fn cut(address: IpAddr, length: u8) -> Self {
        let (family, bits, all) = match address {
            IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (Family::V6, address.to_bits(), 128),
        };
        let behind = u32::from(all - length.min(all));
        let bits = bits.checked_shr(behind).and_then(|bits| bits.checked_shl(behind)).unwrap_or(0);
        Self { length: Reverse(length), family, bits }
    }
}

/// All networks, the longest prefixes first.
#[derive(Debug, Clone)]
pub(super) struct Networks {
    /// The prefix lengths that occur, the longest first.
    lengths: Box<[u8]>,
    /// Sorted by key.
    entries: Box<[(NetworksKey, Group)]>,
}

impl Networks {
    /// The entries come in the order of their keys.
    pub(super) fn build(entries: impl Iterator<Item = (NetworksKey, Group)>) -> Self {
        let entries: Box<[_]> = entries.collect();
        let mut lengths: Vec<u8> = entries.iter().map(|(key, _)| key.length.0).collect();
        lengths.dedup();
        Self { lengths: lengths.into(), entries }
    }

    /// The groups of the networks that contain the address, the longest prefix first.
    pub(super) fn containing(&self, address: IpAddr) -> impl Iterator<Item = &Group> {
        let all = if address.is_ipv4() { 32 } else { 128 };
        self.lengths.iter().filter(move |length| **length <= all).filter_map(move |length| {
            let key = NetworksKey::cut(address, *length);
            let at = self.entries.binary_search_by(|(other, _)| other.cmp(&key)).ok()?;
            self.entries.get(at).map(|(_, group)| group)
        })
    }
}
