//! How often may somebody do something? Buckets of turns, by key, with a bound on how many keys are remembered.
//!
//! Whoever has no turn left is told when there will be one; nothing waits and nothing is dropped silently. Reads no clock
//! of its own. When too many keys are remembered, those whose bucket is full again are forgotten, which changes nothing,
//! and then any.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many keys are remembered at once.
const MOST_KEYS: usize = 1 << 16;

/// Turns per key.
#[derive(Debug)]
pub(super) struct Rates<K> {
    /// How long until one turn comes back.
    interval: Duration,
    /// How many turns a key has that has taken none for long.
    burst: u32,
    /// By when each key's bucket is full again.
    full_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq + Clone> Rates<K> {
    /// `burst` turns at once, and one more after every `interval`.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst: burst.max(1), full_at: Mutex::default() }
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// How long until the next turn, when none is left.
    pub(super) fn take(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full = full_at.get(key).copied().filter(|full| *full > now).unwrap_or(now);
        self.room(full, now)?;
        if full_at.len() >= MOST_KEYS && !full_at.contains_key(key) {
            forget_some(&mut full_at, now);
        }
        full_at.insert(key.clone(), full + self.interval);
        Ok(())
    }

    /// Whether there is a turn, without taking it.
    ///
    /// # Errors
    /// As [`Rates::take`].
    pub(super) fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.get(key).map_or(Ok(()), |full| self.room((*full).max(now), now))
    }

    fn room(&self, full: Instant, now: Instant) -> Result<(), Duration> {
        let taken = full.saturating_duration_since(now);
        let most = self.interval * (self.burst - 1);
        if taken <= most { Ok(()) } else { Err(taken - most) }
    }
}

fn forget_some<K: Hash + Eq + Clone>(full_at: &mut HashMap<K, Instant>, now: Instant) {
    full_at.retain(|_, full| *full > now);
    if full_at.len() >= MOST_KEYS {
        let some: Vec<K> = full_at.keys().take(MOST_KEYS / 8).cloned().collect();
        for key in &some {
            full_at.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_had_at_once_and_then_one_turn_per_interval() {
        let rates = Rates::new(Duration::from_secs(1), 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.look(&"a", start), Ok(()));
            assert_eq!(rates.take(&"a", start), Ok(()));
        }
        assert_eq!(rates.look(&"a", start), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&"a", start), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&"b", start), Ok(()));
        let later = start + Duration::from_secs(1);
        assert_eq!(rates.take(&"a", later), Ok(()));
        assert_eq!(rates.take(&"a", later), Err(Duration::from_secs(1)));
        assert_eq!(rates.take(&"a", start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn only_so_many_keys_are_remembered() {
        let rates = Rates::new(Duration::from_secs(1), 1);
        let now = Instant::now();
        for key in 0..2 * MOST_KEYS {
            let _ = rates.take(&key, now);
        }
        assert!(rates.full_at.lock().unwrap().len() <= MOST_KEYS);
    }
}
