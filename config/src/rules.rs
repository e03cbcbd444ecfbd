//! Which rule decides about a destination.
//!
//! The most specific matching pattern wins, whether it allows or denies: an exact name before a longer suffix before a
//! shorter one before `*`, a longer network prefix before a shorter one before `*`; within the same hosts, the narrower
//! range of ports. Two that are equally specific are a tie, and a tie is a denial. What nothing matches is not listed.
//!
//! A decision allocates nothing, takes no lock, and looks at as many table slots as the name has labels. It never
//! resolves a name and knows nothing of who is asking.

use crate::destination::Destination;
use crate::manifest::{AllowEntry, Network};
use crate::pattern::Pattern;

mod hosts;
mod index;
mod networks;

use index::{Index, Verdict};

/// The rules of one manifest, compiled. Never changes; a new manifest makes new rules.
#[derive(Debug, Clone)]
pub struct Rules {
    allow: Box<[AllowEntry]>,
    deny: Box<[Pattern]>,
    index: Index,
}

/// Which entry of `allow`: its position in the manifest, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(u32);

impl RuleIndex {
    /// The position as a number, from 0.
    #[must_use]
    pub const fn position(self) -> u32 {
        self.0
    }
}

/// What the rules say about a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'rules> {
    /// This entry allows it.
    Allow(RuleIndex),
    /// This pattern denies it.
    Deny(&'rules Pattern),
    /// Several patterns are equally specific, and not all of them deny: a denial.
    Tie,
    /// No pattern matches: a denial.
    Unlisted,
}

impl Rules {
    /// Compiles what a manifest lists.
    #[must_use]
    pub fn compile(network: &Network) -> Self {
        let allow: Box<[AllowEntry]> = network.allow.as_slice().into();
        let deny: Box<[Pattern]> = network.deny.as_slice().into();
        let allowed = allow.iter().zip(0..).map(|(entry, at)| (&entry.pattern, Verdict::Allow(at)));
        let denied = deny.iter().zip(0..).map(|(pattern, at)| (pattern, Verdict::Deny(at)));
        let index = Index::build(allowed.chain(denied));
        Self { allow, deny, index }
    }

    /// What the rules say about this destination.
    #[must_use]
    pub fn matching(&self, destination: &Destination) -> Match<'_> {
        match self.index.decide(destination) {
            None => Match::Unlisted,
            Some(Verdict::Tie) => Match::Tie,
            Some(Verdict::Allow(at)) => Match::Allow(RuleIndex(at)),
            Some(Verdict::Deny(at)) => self.deny.get(at as usize).map_or(Match::Tie, Match::Deny),
        }
    }

    /// The entry that an index of these rules stands for; `None` for an index that longer rules made.
    #[must_use]
    pub fn allow_entry(&self, index: RuleIndex) -> Option<&AllowEntry> {
        self.allow.get(index.0 as usize)
    }

    /// Every entry of `allow`, in the order of the manifest.
    #[must_use]
    pub fn allowed(&self) -> &[AllowEntry] {
        &self.allow
    }

    /// Every pattern of `deny`, in the order of the manifest.
    #[must_use]
    pub fn denied(&self) -> &[Pattern] {
        &self.deny
    }

    /// How many entries `allow` and `deny` have together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.allow.len() + self.deny.len()
    }

    /// Whether there is no entry at all: everything is unlisted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a gateway forbids to everyone, whatever a manifest allows.
#[derive(Debug, Clone)]
pub struct DenyList {
    patterns: Box<[Pattern]>,
    index: Index,
}

impl DenyList {
    /// Compiles the patterns.
    #[must_use]
    pub fn compile(patterns: &[Pattern]) -> Self {
        let index = Index::build(patterns.iter().zip(0..).map(|(pattern, at)| (pattern, Verdict::Deny(at))));
        Self { patterns: patterns.into(), index }
    }

    /// The pattern that forbids this destination: the most specific one, if any does.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> Option<&Pattern> {
        match self.index.decide(destination) {
            Some(Verdict::Deny(at)) => self.patterns.get(at as usize),
            _ => None,
        }
    }

    /// The patterns, in the order of the settings.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }
}

impl Default for DenyList {
    /// Forbids nothing.
    fn default() -> Self {
        Self::compile(&[])
    }
}

#[cfg(test)]
mod tests;
