//! A map that is cheap to copy when little of it changes.
//!
//! A snapshot never changes, so every change makes a new one; with a million entries a plain copy would take longer than a
//! revocation may. Here a copy shares its shards with the original and pays for the shards it touches. Two maps of
//! one lineage are compared by looking at those shards only.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

/// A power of two: with a million entries a touched shard has about five hundred.
const SHARDS: usize = 2048;

#[derive(Debug, Clone)]
pub(crate) struct Sharded<K, V> {
    shards: Arc<Vec<Arc<HashMap<K, V>>>>,
    hasher: RandomState,
    len: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Sharded<K, V> {
    pub(crate) fn new() -> Self {
        Self { shards: Arc::new(vec![Arc::default(); SHARDS]), hasher: RandomState::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shards.get(self.slot(key))?.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let slot = self.slot(&key);
        let replaced = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(slot)?).insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.get(key)?;
        let slot = self.slot(key);
        let removed = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(slot)?).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// The keys whose values are not the same in both, those of one side only included.
    pub(crate) fn differing(&self, other: &Self, same: impl Fn(&V, &V) -> bool) -> Vec<K> {
        let mut keys = Vec::new();
        for (shard, opposite) in self.shards.iter().zip(other.shards.iter()) {
            if Arc::ptr_eq(shard, opposite) {
                continue;
            }
            let changed =
                shard.iter().filter(|(key, value)| other.get(key).is_none_or(|there| !same(value, there)));
            keys.extend(changed.map(|(key, _)| key.clone()));
            keys.extend(opposite.keys().filter(|key| self.get(key).is_none()).cloned());
        }
        keys
    }

    fn slot<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The low bits choose the shard; truncation is what is wanted.
        #[allow(clippy::cast_possible_truncation)]
        let hash = self.hasher.hash_one(key) as usize;
        hash & (SHARDS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_happens_to_the_original() {
        let mut map = Sharded::new();
        (0..5000).for_each(|n| assert_eq!(map.insert(n, n), None));
        let copy = map.clone();
        assert_eq!(map.insert(7, 70), Some(7));
        assert_eq!(map.remove(&8), Some(8));
        assert_eq!(map.remove(&9000), None);
        map.insert(5000, 5000);
        assert_eq!((copy.len(), map.len()), (5000, 5000));
        assert_eq!((copy.get(&7), copy.get(&8), copy.get(&5000)), (Some(&7), Some(&8), None));
        for (left, right) in [(&map, &copy), (&copy, &map)] {
            let mut differing = left.differing(right, PartialEq::eq);
            differing.sort_unstable();
            assert_eq!(differing, [7, 8, 5000]);
        }
    }

    #[test]
    fn maps_of_different_lineage_compare_by_value() {
        let (mut left, mut right) = (Sharded::new(), Sharded::new());
        (0..1000).for_each(|n| assert_eq!(left.insert(n, n), None));
        (0..1001).for_each(|n| assert_eq!(right.insert(n, n), None));
        assert_eq!(left.differing(&right, PartialEq::eq), [1000]);
        assert_eq!(right.iter().count(), 1001);
    }
}
