//! Patterns as text: reading and printing. What is printed reads back to the same pattern.

use super::*;

impl Pattern {
    /// Reads `host[:port]`; without port, the pattern means what `default` says.
    ///
    /// # Errors
    /// [`MalformedPattern`] says which part is not in order.
    pub fn parse(text: &str, default: DefaultPorts) -> Result<Self, MalformedPattern> {
        if text.is_empty() {
            return Err(MalformedPattern::Empty);
        }
        if text.contains("://") || text.contains(['@', '?', '#', '\\']) {
            return Err(MalformedPattern::Url);
        }
        let (host, ports) = split(text)?;
        let ports = match (ports, default) {
            (Some(ports), _) => PortPattern::parse(ports)?,
            (None, DefaultPorts::Https) => PortPattern::HTTPS,
            (None, DefaultPorts::Every) => PortPattern::EVERY,
        };
        Ok(Self { host: HostPattern::parse(host)?, ports })
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, MalformedPattern> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            if suffix.contains('*') {
                return Err(MalformedPattern::Wildcard);
            }
            let suffix = Name::parse_text(suffix)?;
            return if suffix.has_underscore() {
                Err(MalformedPattern::Wildcard)
            } else {
                Ok(Self::Suffix(suffix))
            };
        }
        if text.contains('*') {
            return Err(MalformedPattern::Wildcard);
        }
        if text.contains(['/', '[']) {
            return parse_network(text).map(Self::Network);
        }
        // Only plain ASCII can be an address: text that becomes one by mapping is refused as a name.
        match Host::parse_wire(text.as_bytes()) {
            Ok(Host::Ip(address)) => Ok(Self::Network(IpNet::from(address))),
            _ => Ok(Self::Exact(Name::parse_text(text)?)),
        }
    }
}

impl PortPattern {
    /// Reads `443`, `8000-8100` or `*`.
    ///
    /// # Errors
    /// [`MalformedPattern::Port`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MalformedPattern> {
        let port = |digits: &str| parse_port(digits.as_bytes()).map_err(|_| MalformedPattern::Port);
        if text == "*" {
            return Ok(Self::EVERY);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = Self { first: port(first)?.get(), last: port(last)?.get() };
        if ports.first <= ports.last { Ok(ports) } else { Err(MalformedPattern::Port) }
    }
}

/// Splits host and port. Brackets may hold an address (`[::1]:443`) or a network (`[fd00::/8]:443`); a network of IPv6
/// addresses without port needs none.
fn split(text: &str) -> Result<(&str, Option<&str>), MalformedPattern> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(MalformedPattern::Brackets)?;
        let (host, rest) = text.split_at_checked(end + 1).ok_or(MalformedPattern::Brackets)?;
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => Ok((host, None)),
            Some(ports) => Ok((host, Some(ports))),
            None => Err(MalformedPattern::Brackets),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if !rest.contains(':') => {
            Ok(text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p))))
        }
        Some(_) if text.contains('/') && text.parse::<IpNet>().is_ok() => Ok((text, None)),
        Some(_) => Err(MalformedPattern::Brackets),
    }
}

/// Reads an IPv6 address in brackets, or a network with or without them.
fn parse_network(text: &str) -> Result<IpNet, MalformedPattern> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(inside) = inside.filter(|inside| !inside.contains('/')) {
        return match Host::parse_wire(text.as_bytes())? {
            Host::Ip(address) if inside.contains(':') => Ok(IpNet::from(address)),
            _ => Err(MalformedPattern::Brackets),
        };
    }
    let spelled = inside.unwrap_or(text);
    let (_, prefix) = spelled.split_once('/').ok_or(MalformedPattern::Network)?;
    if prefix.starts_with('+') || (prefix.len() > 1 && prefix.starts_with('0')) {
        return Err(MalformedPattern::Network);
    }
    let network: IpNet = spelled.parse().map_err(|_| {
        // A path behind a name is a URL without scheme; say so rather than speak of networks.
        if spelled.starts_with(|first: char| first.is_ascii_hexdigit()) {
            MalformedPattern::Network
        } else {
            MalformedPattern::Url
        }
    })?;
    if inside.is_some() && network.addr().is_ipv4() {
        return Err(MalformedPattern::Brackets);
    }
    let network = canonical(network);
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(MalformedPattern::HostBits(network.trunc()))
    }
}

/// IPv4 networks written inside `::ffff:0:0/96` become IPv4 networks, as destinations do.
fn canonical(network: IpNet) -> IpNet {
    match (network.addr(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V6(address), Some(prefix)) => match address.to_ipv4_mapped() {
            Some(address) => IpNet::new(IpAddr::V4(address), prefix).unwrap_or(network),
            None => network,
        },
        _ => network,
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.ports)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => name.fmt(f),
            Self::Suffix(name) => write!(f, "*.{name}"),
            Self::Network(network) => {
                let single = network.prefix_len() == network.max_prefix_len();
                match (network, single) {
                    (IpNet::V4(network), true) => write!(f, "{}", network.addr()),
                    (IpNet::V4(network), false) => write!(f, "{network}"),
                    (IpNet::V6(network), true) => write!(f, "[{}]", network.addr()),
                    (IpNet::V6(network), false) => write!(f, "[{network}]"),
                }
            }
        }
    }
}

impl fmt::Display for PortPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.width()) {
            (Self::EVERY, _) => f.write_str("*"),
            (_, 1) => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
