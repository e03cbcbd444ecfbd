//! Patterns arranged for look-up: names by hash, addresses by prefix, ports by width.
//!
//! All patterns with the same hosts form a group: a run of `candidates`, the narrowest range of ports first. A look-up
//! finds the groups that hold a host, from the least specific to the most, and the last one that has the port decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use super::hosts::{Names, NamesKey};
use super::networks::{Networks, NetworksKey};
use crate::destination::Destination;
use crate::host::{Host, Name};
use crate::pattern::{HostPattern, Pattern, PortPattern};

/// What an entry says, with its position in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow(u32),
    Deny(u32),
    /// Several entries are equally specific, and they do not all deny.
    Tie,
}

/// A run of candidates that share their hosts.
pub(super) type Group = Range<u32>;

#[derive(Debug, Clone, Copy)]
struct Candidate {
    ports: PortPattern,
    verdict: Verdict,
}

#[derive(Debug, Clone)]
pub(super) struct Index {
    candidates: Box<[Candidate]>,
    any: Group,
    names: Names,
    networks: Networks,
}

impl Index {
    pub(super) fn build<'a>(entries: impl Iterator<Item = (&'a Pattern, Verdict)>) -> Self {
        let mut any = Vec::new();
        let mut names: BTreeMap<NamesKey, Vec<Candidate>> = BTreeMap::new();
        let mut networks: BTreeMap<NetworksKey, Vec<Candidate>> = BTreeMap::new();
        for (pattern, verdict) in entries {
            let group = match &pattern.host {
                HostPattern::Any => &mut any,
                HostPattern::Exact(name) => names.entry(NamesKey::exact(name)).or_default(),
                HostPattern::Suffix(name) => names.entry(NamesKey::suffix(name)).or_default(),
                HostPattern::Network(network) => networks.entry(NetworksKey::of(*network)).or_default(),
            };
            group.push(Candidate { ports: pattern.ports, verdict });
        }
        let mut candidates = Vec::new();
        Self {
            any: append(&mut candidates, any),
            names: Names::build(names.into_iter().map(|(key, group)| (key, append(&mut candidates, group)))),
            networks: Networks::build(
                networks.into_iter().map(|(key, group)| (key, append(&mut candidates, group))),
            ),
            candidates: candidates.into_boxed_slice(),
        }
    }

    /// What the most specific entry says, or `None` when no entry matches.
    pub(super) fn decide(&self, destination: &Destination) -> Option<Verdict> {
        let closest = match destination.host() {
            Host::Name(name) => self.decide_name(name, destination.port()),
            Host::Ip(address) => self.decide_address(*address, destination.port()),
        };
        closest.or_else(|| self.pick(&self.any, destination.port(), |_| true))
    }

    fn decide_name(&self, name: &Name, port: u16) -> Option<Verdict> {
        // Service labels (`_sip._tcp`) are not hosts: only an entry that spells one out may allow it.
        let literal_only = name.has_underscore();
        let mut closest = None;
        let exact = self.names.walk(name, |group| {
            let may_decide = |verdict| !literal_only || !matches!(verdict, Verdict::Allow(_));
            closest = self.pick(group, port, may_decide).or(closest);
        });
        exact.and_then(|group| self.pick(group, port, |_| true)).or(closest)
    }

    fn decide_address(&self, address: IpAddr, port: u16) -> Option<Verdict> {
        self.networks.containing(address).find_map(|group| self.pick(group, port, |_| true))
    }

    /// The verdict of the narrowest candidate that has the port; of several, their common denial or a tie.
    fn pick(&self, group: &Group, port: u16, may_decide: impl Fn(Verdict) -> bool) -> Option<Verdict> {
        let group = self.candidates.get(group.start as usize..group.end as usize)?;
        let mut matching =
            group.iter().filter(|candidate| candidate.ports.contains(port) && may_decide(candidate.verdict));
        let narrowest = matching.next()?;
        let mut equals =
            matching.take_while(|other| other.ports.width() == narrowest.ports.width()).peekable();
        if equals.peek().is_none() {
            return Some(narrowest.verdict);
        }
        let all_deny = matches!(narrowest.verdict, Verdict::Deny(_))
            && equals.all(|other| matches!(other.verdict, Verdict::Deny(_)));
        Some(if all_deny { narrowest.verdict } else { Verdict::Tie })
    }
}

/// Appends a group, the narrowest ports first, and says where it went.
fn append(candidates: &mut Vec<Candidate>, mut group: Vec<Candidate>) -> Group {
    group.sort_by_key(|candidate| candidate.ports.width());
    let start = position(candidates.len());
    candidates.extend(group);
    start..position(candidates.len())
}

/// A manifest has at most a mebibyte of text, so its entries are far fewer than 2³².
pub(super) fn position(count: usize) -> u32 {
    u32::try_from(count).expect("a manifest is at most one mebibyte long")
}
