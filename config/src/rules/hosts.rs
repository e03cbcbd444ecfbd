//! Names by hash: exact names and suffixes in one open-addressed table.
//!
//! One pass over a name, from its last byte to its first, passes every suffix of whole labels and leaves the hash of each
//! on the way; so a look-up hashes the name once, however many labels it has. Only the signed entries are in the
//! table: whoever chooses names to look up cannot make it slower than its longest probe.

use super::index::{Group, position};
use crate::host::Name;

/// What a table entry matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamesKey {
    name: Name,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Exact,
    Suffix,
}

impl NamesKey {
    pub(super) fn exact(name: &Name) -> Self {
        Self { name: name.clone(), kind: Kind::Exact }
    }

    pub(super) fn suffix(name: &Name) -> Self {
        Self { name: name.clone(), kind: Kind::Suffix }
    }
}

/// The table. At least half of the slots are empty, so that every probe ends.
#[derive(Debug, Clone)]
pub(super) struct Names {
    slots: Box<[Slot]>,
    entries: Box<[(NamesKey, Group)]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// Index into `entries`, or [`VACANT`].
    entry: u32,
}

const VACANT: u32 = u32::MAX;

impl Names {
    pub(super) fn build(entries: impl Iterator<Item = (NamesKey, Group)>) -> Self {
        let entries: Box<[_]> = entries.collect();
        let capacity = if entries.is_empty() { 0 } else { (entries.len() * 2).next_power_of_two() };
        let vacant = Slot { hash: 0, entry: VACANT };
        let mut names = Self { slots: vec![vacant; capacity].into(), entries: Box::default() };
        for (at, (key, _)) in entries.iter().enumerate() {
            let mut hash = Hash::NONE;
            key.name.as_str().bytes().rev().for_each(|byte| hash.take(byte));
            names.insert(Slot { hash: hash.of(key.kind), entry: position(at) });
        }
        names.entries = entries;
        names
    }

    fn insert(&mut self, slot: Slot) {
        let free =
            self.probe(slot.hash).find(|at| self.slots.get(*at).is_some_and(|slot| slot.entry == VACANT));
        if let Some(free) = free.and_then(|at| self.slots.get_mut(at)) {
            *free = slot;
        }
    }

    /// Calls `suffix_found` with the group of each suffix that the name is below, the shortest first, and returns the
    /// group of the name itself.
    pub(super) fn walk(&self, name: &Name, mut suffix_found: impl FnMut(&Group)) -> Option<&Group> {
        if self.entries.is_empty() {
            return None;
        }
        let name = name.as_str();
        let mut hash = Hash::NONE;
        for (at, byte) in name.bytes().enumerate().rev() {
            if byte == b'.'
                && let Some(group) = self.find(hash, Kind::Suffix, name.get(at + 1..).unwrap_or_default())
            {
                suffix_found(group);
            }
            hash.take(byte);
        }
        self.find(hash, Kind::Exact, name)
    }

    fn find(&self, hash: Hash, kind: Kind, name: &str) -> Option<&Group> {
        let hash = hash.of(kind);
        self.probe(hash)
            .map_while(|at| self.slots.get(at).filter(|slot| slot.entry != VACANT))
            .filter(|slot| slot.hash == hash)
            .filter_map(|slot| self.entries.get(slot.entry as usize))
            .find(|(key, _)| key.kind == kind && key.name.as_str() == name)
            .map(|(_, group)| group)
    }

    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        (0..=mask).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }
}

/// FNV-1a over the bytes of a name in reverse.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const NONE: Self = Self(0xcbf2_9ce4_8422_2325);

    fn take(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The upper half, where the bits are mixed best.
    #[allow(clippy::cast_possible_truncation, reason = "the upper half of 64 bits has 32")]
    fn of(mut self, kind: Kind) -> u32 {
        self.take(match kind {
            Kind::Exact => b'=',
            Kind::Suffix => b'.',
        });
        (self.0 >> 32) as u32
    }
}
