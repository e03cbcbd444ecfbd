//! Screening: whether an address may be dialled at all, whatever name led to it and whoever asks.
//!
//! The policy decides on names; this decides on what the names turned into. An address that the special-purpose
//! registries set apart is refused, unless `destinations.internal` opens its network. Three things stay closed even
//! then: the metadata services of the clouds (only `destinations.metadata_override` opens one, by its exact address),
//! the gateway's own listeners (any of its addresses with any of its listeners' ports), and addresses that are no
//! unicast destination or hide an IPv4 address inside an IPv6 one.
//!
//! [`EgressAddr`] is the proof: `dial` takes nothing else, and only [`Screen::admit`] makes one.
//!
//! Relies on [`special`] for the registries and on [`own`] for the machine's own addresses. Never resolves, never
//! dials, never waits: every answer is a read of immutable tables and one atomic pointer.

mod own;
mod special;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use config::Reason;
use ipnet::IpNet;

use self::own::OwnAddresses;
use self::special::Class;

/// What an operator has opened and what the gateway itself listens on.
#[derive(Debug, Clone, Default)]
pub struct ScreenRules {
    /// `destinations.internal`: special-purpose networks that are nevertheless destinations.
    pub internal: Vec<IpNet>,
    /// `destinations.metadata_override`: metadata addresses that are nevertheless destinations.
    pub metadata_override: Vec<IpAddr>,
    /// What the gateway's listeners are bound to: device, admin and PAC, with the ports they got.
    pub listeners: Vec<SocketAddr>,
}

/// Decides which addresses may be dialled.
#[derive(Debug)]
pub struct Screen {
    internal: Vec<IpNet>,
    metadata_override: Vec<IpAddr>,
    own: OwnAddresses,
}

/// An address that has passed the screen. There is no other way to make one than [`Screen::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EgressAddr {
    addr: SocketAddr,
    own: bool,
}

/// A refusal by the screen: the address and, in fixed words, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address {address} is prohibited: {}", .why.as_str())]
pub struct Prohibited {
    /// The address that was refused.
    pub address: IpAddr,
    /// Which rule refused it.
    pub why: Prohibition,
}

/// The rules of the screen that can refuse an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prohibition {
    /// A registry sets the address apart and no internal network opens it; the words say which entry.
    SpecialPurpose(&'static str),
    /// A metadata service of a cloud.
    Metadata,
    /// One of the gateway's own addresses with the port of one of its listeners.
    OwnListener,
    /// One of the gateway's own addresses, and no internal network names it.
    OwnAddress,
}

impl Screen {
    /// Builds the screen and reads the machine's interface addresses for the first time.
    ///
    /// # Errors
    /// When the interface addresses cannot be read: a gateway that does not know itself does not start.
    pub fn new(rules: ScreenRules) -> io::Result<Self> {
        let ScreenRules { internal, metadata_override, listeners } = rules;
        Ok(Self { internal, metadata_override, own: OwnAddresses::new(&listeners)? })
    }

    /// Reads the interface addresses again; to be called every few seconds. `Ok(true)` when they changed.
    ///
    /// # Errors
    /// When they cannot be read; the last known addresses stay in force.
    pub fn refresh(&self) -> io::Result<bool> {
        self.own.refresh()
    }

    /// The proof that `addr` may be dialled.
    ///
    /// # Errors
    /// [`Prohibited`], naming the rule that refused it.
    pub fn admit(&self, addr: SocketAddr) -> Result<EgressAddr, Prohibited> {
        let ip = addr.ip();
        match self.prohibition(ip, addr.port()) {
            Some(why) => Err(Prohibited { address: ip, why }),
            None => Ok(EgressAddr { addr, own: self.own.contains(ip) }),
        }
    }

    /// Whether `name` (canonical form) exists only to reach a metadata service, and none is opened: such a name is
    /// refused before it is looked up.
    #[must_use]
    pub fn prohibits_name(&self, name: &str) -> bool {
        self.metadata_override.is_empty() && special::is_metadata_name(name)
    }

    fn prohibition(&self, ip: IpAddr, port: u16) -> Option<Prohibition> {
        let class = special::class_of(ip);
        if let Class::Closed(what) = class {
            return Some(Prohibition::SpecialPurpose(what));
        }
        let overridden = self.metadata_override.contains(&ip);
        if special::is_metadata(ip) && !overridden {
            return Some(Prohibition::Metadata);
        }
        if self.own.contains(ip) {
            return self.prohibition_of_own(ip, port);
        }
        match class {
            Class::Openable(what) if !overridden && !self.is_internal(ip) => {
                Some(Prohibition::SpecialPurpose(what))
            }
            _ => None,
        }
    }

    fn prohibition_of_own(&self, ip: IpAddr, port: u16) -> Option<Prohibition> {
        if self.own.listens_on(port) {
            return Some(Prohibition::OwnListener);
        }
        (!self.is_internal(ip)).then_some(Prohibition::OwnAddress)
    }

    fn is_internal(&self, ip: IpAddr) -> bool {
        self.internal.iter().any(|network| network.contains(&ip))
    }
}

impl Prohibited {
    /// The word for it in answers and events.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::AddressProhibited
    }
}

impl EgressAddr {
    /// The address and port to connect to.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.addr
    }

    /// Whether the address was known to be this machine's own when it was admitted (an internal network names it).
    #[must_use]
    pub fn is_own(self) -> bool {
        self.own
    }
}

impl fmt::Display for EgressAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

impl Prohibition {
    /// The rule in fixed words; nothing of the request is in them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpecialPurpose(what) => what,
            Self::Metadata => "a cloud metadata service",
            Self::OwnListener => "a listener of the gateway itself",
            Self::OwnAddress => "an address of the gateway itself",
        }
    }
}
