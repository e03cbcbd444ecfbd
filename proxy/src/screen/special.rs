//! The addresses that are never an ordinary destination: the IANA special-purpose registries, every way of writing
//! an IPv4 address inside an IPv6 one, and the metadata services of the clouds.
//!
//! The standard library's `is_private` and friends are not used: they answer `false` for `100.64.0.0/10`,
//! `192.0.0.0/24`, `198.18.0.0/15`, `240.0.0.0/4`, most of `0.0.0.0/8` and every IPv6 embedding.
//!
//! Never decides by itself: [`super::Screen`] knows what an operator has opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why the registries set an address apart, and whether an operator can open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// An ordinary, globally routed unicast address.
    Ordinary,
    /// Reserved, but meaningful inside a network: `destinations.internal` may open it.
    Openable(&'static str),
    /// Nothing an operator says makes this a destination.
    Closed(&'static str),
}

struct Range<B> {
    base: B,
    prefix: u8,
    class: Class,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, what: &'static str) -> Range<u32> {
    Range { base: u32::from_be_bytes([a, b, c, d]), prefix, class: Class::Openable(what) }
}

const fn v4_closed(a: u8, b: u8, c: u8, d: u8, prefix: u8, what: &'static str) -> Range<u32> {
    Range { base: u32::from_be_bytes([a, b, c, d]), prefix, class: Class::Closed(what) }
}

const fn v6(head: [u16; 4], prefix: u8, what: &'static str) -> Range<u128> {
    Range { base: v6_base(head), prefix, class: Class::Openable(what) }
}

const fn v6_closed(head: [u16; 4], prefix: u8, what: &'static str) -> Range<u128> {
    Range { base: v6_base(head), prefix, class: Class::Closed(what) }
}

const fn v6_base([a, b, c, d]: [u16; 4]) -> u128 {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits()
}

/// IANA IPv4 special-purpose registry, multicast and class E. Narrower ranges come before the wider ones they lie in.
const V4: &[Range<u32>] = &[
    v4_closed(0, 0, 0, 0, 32, "the unspecified address"),
    v4(0, 0, 0, 0, 8, "this network (RFC 791)"),
    v4(10, 0, 0, 0, 8, "private use (RFC 1918)"),
    v4(100, 64, 0, 0, 10, "shared address space (RFC 6598)"),
    v4(127, 0, 0, 0, 8, "loopback (RFC 1122)"),
    v4(169, 254, 0, 0, 16, "link local (RFC 3927)"),
    v4(172, 16, 0, 0, 12, "private use (RFC 1918)"),
    v4(192, 0, 0, 0, 24, "IETF protocol assignments (RFC 6890)"),
    v4(192, 0, 2, 0, 24, "documentation (RFC 5737)"),
    v4(192, 31, 196, 0, 24, "AS112 (RFC 7535)"),
    v4(192, 52, 193, 0, 24, "automatic multicast tunneling (RFC 7450)"),
    v4(192, 88, 99, 0, 24, "6to4 relay anycast (RFC 7526)"),
    v4(192, 168, 0, 0, 16, "private use (RFC 1918)"),
    v4(192, 175, 48, 0, 24, "AS112 direct delegation (RFC 7534)"),
    v4(198, 18, 0, 0, 15, "benchmarking (RFC 2544)"),
    v4(198, 51, 100, 0, 24, "documentation (RFC 5737)"),
    v4(203, 0, 113, 0, 24, "documentation (RFC 5737)"),
    v4_closed(224, 0, 0, 0, 4, "multicast (RFC 5771)"),
    v4_closed(255, 255, 255, 255, 32, "limited broadcast (RFC 8190)"),
    v4(240, 0, 0, 0, 4, "reserved (RFC 1112)"),
];

/// IANA IPv6 special-purpose registry and the transition mechanisms. What is not listed here is ordinary only inside
/// `2000::/3`, the one block from which global unicast addresses are given out.
const V6: &[Range<u128>] = &[
    v6_closed([0, 0, 0, 0], 128, "the unspecified address"),
    Range { base: Ipv6Addr::LOCALHOST.to_bits(), prefix: 128, class: Class::Openable("loopback (RFC 4291)") },
    v6_closed([0, 0, 0, 0], 96, "an IPv4-compatible address (RFC 4291)"),
    Range { base: 0xffff << 32, prefix: 96, class: Class::Closed("an IPv4-mapped address (RFC 4291)") },
    Range { base: 0xffff << 48, prefix: 96, class: Class::Closed("an IPv4-translated address (RFC 2765)") },
    v6_closed([0x64, 0xff9b, 0, 0], 96, "an IPv4 address behind NAT64 (RFC 6052)"),
    v6_closed([0x64, 0xff9b, 1, 0], 48, "an IPv4 address behind local NAT64 (RFC 8215)"),
    v6([0x100, 0, 0, 0], 64, "discard only (RFC 6666)"),
    v6([0x100, 0, 0, 1], 64, "dummy prefix (RFC 9780)"),
    v6_closed([0x2001, 0, 0, 0], 32, "an IPv4 address behind Teredo (RFC 4380)"),
    v6([0x2001, 0, 0, 0], 23, "IETF protocol assignments (RFC 2928)"),
    v6([0x2001, 0xdb8, 0, 0], 32, "documentation (RFC 3849)"),
    v6_closed([0x2002, 0, 0, 0], 16, "an IPv4 address behind 6to4 (RFC 3056)"),
    v6([0x2620, 0x4f, 0x8000, 0], 48, "AS112 direct delegation (RFC 7534)"),
    v6([0x3fff, 0, 0, 0], 20, "documentation (RFC 9637)"),
    v6([0x5f00, 0, 0, 0], 16, "segment routing identifiers (RFC 9602)"),
    v6([0xfc00, 0, 0, 0], 7, "unique local (RFC 4193)"),
    v6([0xfe80, 0, 0, 0], 10, "link local (RFC 4291)"),
    v6([0xfec0, 0, 0, 0], 10, "site local (RFC 3879)"),
    v6_closed([0xff00, 0, 0, 0], 8, "multicast (RFC 4291)"),
];

/// Where clouds answer with credentials. Some lie in public or openable ranges, so they are named one by one.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // most clouds
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS container credentials
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS pod identity
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),   // Scaleway
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),    // Tencent
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure wire server: a public range
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS pod identity
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // Oracle
];

/// Names that exist only to reach a metadata service: refused before anything is asked of the name servers.
const METADATA_NAMES: &[&str] =
    &["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal", "metadata.tencentyun.com"];

/// What the registries say of `ip`.
pub(super) fn class_of(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_of_v4(ip.to_bits()),
        IpAddr::V6(ip) => class_of_v6(ip.to_bits()),
    }
}

/// Whether a cloud's metadata service answers at `ip`.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    METADATA.contains(&ip)
}

/// Whether `name` (canonical form: lower case, no root dot) is a cloud's name for its metadata service.
pub(super) fn is_metadata_name(name: &str) -> bool {
    METADATA_NAMES.contains(&name)
}

fn class_of_v4(bits: u32) -> Class {
    let holds = |range: &&Range<u32>| (bits ^ range.base).leading_zeros() >= u32::from(range.prefix);
    V4.iter().find(holds).map_or(Class::Ordinary, |range| range.class)
}

fn class_of_v6(bits: u128) -> Class {
    let holds = |range: &&Range<u128>| (bits ^ range.base).leading_zeros() >= u32::from(range.prefix);
    match V6.iter().find(holds) {
        Some(range) => range.class,
        None if is_isatap(bits) => Class::Closed("an IPv4 address behind ISATAP (RFC 5214)"),
        None if bits >> 125 == 0b001 => Class::Ordinary,
        None => Class::Openable("outside global unicast (RFC 4291)"),
    }
}

/// The interface identifier `[02]00:5efe:a.b.c.d`: a tunnel to the IPv4 address in its last 32 bits.
fn is_isatap(bits: u128) -> bool {
    let identifier = (bits >> 32) & 0xffff_ffff;
    identifier & !0x0200_0000 == 0x0000_5efe
}

#[cfg(test)]
pub(super) fn registry() -> impl Iterator<Item = (IpAddr, u8)> {
    let v4 = V4.iter().map(|range| (IpAddr::from(Ipv4Addr::from_bits(range.base)), range.prefix));
    let v6 = V6.iter().map(|range| (IpAddr::from(Ipv6Addr::from_bits(range.base)), range.prefix));
    v4.chain(v6)
}

#[cfg(test)]
pub(super) fn metadata() -> impl Iterator<Item = IpAddr> {
    METADATA.iter().copied()
}
