//! What a rule can name: a pattern is `host[:port]`.
//!
//! A host pattern is an exact name, `*.suffix`, an IP literal, a network, or `*`. A port pattern is `443`, `8000-8100`
//! or `*`. Names are in canonical form from here on. Patterns print with their port, so that what is printed reads
//! back to the same pattern wherever it stands.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::destination::{Destination, parse_port};
use crate::host::{Host, MalformedHost, Name};

mod text;

/// Destinations, by host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Which hosts.
    pub host: HostPattern,
    /// Which of their ports.
    pub ports: PortPattern,
}

/// Hosts: what stands before the port of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name alone.
    Exact(Name),
    /// Every name that is one or more labels below this one, and never this one itself.
    Suffix(Name),
    /// Address literals inside this network; a single address is a network of one. Never a name.
    Network(IpNet),
    /// Every host.
    Any,
}

/// An inclusive range of ports, from 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortPattern {
    first: u16,
    last: u16,
}

/// What a pattern without port means where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultPorts {
    /// Port 443 alone: in a list of what is allowed.
    Https,
    /// Every port: in a list of what is denied.
    Every,
}

/// How closely a pattern describes a destination. The greater one wins; equal ones tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity(HostSpecificity, Reverse<u32>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostSpecificity {
    Any,
    Network { prefix: u8 },
    Suffix { length: usize },
    Exact,
}

impl Pattern {
    /// Whether the pattern describes the destination. An address is described by networks only, a name never by one.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        self.ports.contains(destination.port()) && self.host.matches(destination.host())
    }

    /// How closely it describes what it matches.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        let host = match &self.host {
            HostPattern::Any => HostSpecificity::Any,
            HostPattern::Network(network) => HostSpecificity::Network { prefix: network.prefix_len() },
            HostPattern::Suffix(name) => HostSpecificity::Suffix { length: name.as_str().len() },
            HostPattern::Exact(_) => HostSpecificity::Exact,
        };
        Specificity(host, Reverse(self.ports.width()))
    }

    /// Whether a list of what is allowed may hold it: not `*`, not a network of all addresses, not a wildcard over a
    /// public suffix.
    ///
    /// # Errors
    /// [`UnfitPattern`] says which of these it is.
    pub fn fit_to_allow(&self) -> Result<(), UnfitPattern> {
        match &self.host {
            HostPattern::Any => Err(UnfitPattern::Any),
            HostPattern::Network(network) if network.prefix_len() == 0 => Err(UnfitPattern::EveryAddress),
            _ => self.fit_to_deny(),
        }
    }

    /// Whether a manifest's list of what is denied may hold it: not a wildcard over a public suffix. Such an entry
    /// could decide nothing, for every entry that may be allowed below it is more specific.
    ///
    /// # Errors
    /// [`UnfitPattern`] when it is one.
    pub fn fit_to_deny(&self) -> Result<(), UnfitPattern> {
        match &self.host {
            HostPattern::Suffix(name) if covers_public_suffix(name) => {
                Err(UnfitPattern::PublicSuffix(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl HostPattern {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(name), Host::Name(asked)) => name == asked,
            (Self::Suffix(suffix), Host::Name(asked)) => {
                asked.as_str().strip_suffix(suffix.as_str()).is_some_and(|below| below.ends_with('.'))
            }
            (Self::Network(network), Host::Ip(address)) => network.contains(address),
            (Self::Exact(_) | Self::Suffix(_), Host::Ip(_)) | (Self::Network(_), Host::Name(_)) => false,
        }
    }
}

impl PortPattern {
    /// Every port.
    pub const EVERY: Self = Self { first: 1, last: u16::MAX };
    /// Port 443.
    pub const HTTPS: Self = Self { first: 443, last: 443 };

    /// Whether the port is inside.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// How many ports it has.
    #[must_use]
    pub fn width(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// The lowest and the highest port.
    #[must_use]
    pub const fn bounds(self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whether some port is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Why text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPattern {
    /// Nothing there.
    #[error("the pattern is empty")]
    Empty,
    /// The host is not one.
    #[error(transparent)]
    Host(#[from] MalformedHost),
    /// `*` anywhere but alone or as the whole first label, or over a name with `_`.
    #[error("a wildcard is `*.` before a name, and stands for whole labels only")]
    Wildcard,
    /// Not a port, a range of ports, or `*`.
    #[error("the port of a pattern is a number from 1 to 65535, a range like 8000-8100, or *")]
    Port,
    /// Something like `10.0.0.0/8` that is not a network.
    #[error("the network is not an address, a slash and a prefix length")]
    Network,
    /// A network with bits set behind its prefix.
    #[error("the network has bits set behind its prefix; its network is {0}")]
    HostBits(IpNet),
    /// An IPv6 address with a port after it and no brackets around it.
    #[error("an IPv6 address stands in brackets")]
    Brackets,
    /// A URL, or a part of one.
    #[error("a pattern is host:port, not a URL")]
    Url,
}

/// Why a pattern may not stand where it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPattern {
    /// `*` where something is allowed.
    #[error("`*` stands in deny only")]
    Any,
    /// `0.0.0.0/0` or `::/0` where something is allowed.
    #[error("a network of all addresses cannot be allowed")]
    EveryAddress,
    /// A wildcard over names that belong to strangers of one another.
    #[error("`*.{0}` is a wildcard over a public suffix, below which anyone can have a name")]
    PublicSuffix(Name),
}

/// Whether names directly below this one are handed out to the public, by the ICANN or the private section of the
/// public suffix list. Single labels count: none of them belongs to anyone.
fn covers_public_suffix(name: &Name) -> bool {
    let is_public = |name: &str| psl::suffix_str(name) == Some(name);
    // A rule such as `*.kawasaki.jp` makes public suffixes of all names below, but not of `kawasaki.jp` itself. The
    // label asked for is one that no rule excepts.
    is_public(name.as_str()) || is_public(&format!("portcullis-asks.{name}"))
}

#[cfg(test)]
mod tests;
