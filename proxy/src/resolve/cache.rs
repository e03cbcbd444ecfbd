//! Answers worth remembering, for as long as they say and no longer than is safe.
//!
//! Bounded in names and in addresses per name, since agents choose the names. Remembers what the name servers said, not
//! whether it may be used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use config::Name;
use tokio::time::Instant;

use super::{Miss, Outcome};

/// An answer lives no shorter than this, unless it says zero.
const SHORTEST: Duration = Duration::from_secs(5);
/// An answer lives no longer than this.
const LONGEST: Duration = Duration::from_secs(300);
/// A name without address lives this long if the answer does not say.
const UNSAID_ABSENCE: Duration = Duration::from_secs(5);
/// A failure of the name servers lives this long, so that a storm of questions does not follow it.
const FAILURE: Duration = Duration::from_secs(1);

/// The remembered answers.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Name, Entry>>,
    most_names: usize,
    most_addresses: usize,
    longest_absence: Duration,
}

#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    until: Instant,
}

impl Cache {
    /// An empty cache for `most_names`, each with up to `most_addresses`; absence lives up to `longest_absence`.
    pub(super) fn new(most_names: usize, most_addresses: usize, longest_absence: Duration) -> Self {
        Self { entries: Mutex::default(), most_names, most_addresses, longest_absence }
    }

    /// What is remembered of `name` at `now`.
    pub(super) fn find(&self, name: &Name, now: Instant) -> Option<Outcome> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).filter(|entry| entry.until > now).map(|entry| entry.outcome.clone())
    }

    /// Remembers what was learned of `name` at `now`, if it may be. `ttl` is what the answer says.
    pub(super) fn keep(&self, name: &Name, outcome: &Outcome, ttl: Option<Duration>, now: Instant) {
        let Some(life) = self.life_of(outcome, ttl) else { return };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most_names && !entries.contains_key(name) {
            make_room(&mut entries, now);
        }
        entries.insert(name.clone(), Entry { outcome: outcome.clone(), until: now + life });
    }

    fn life_of(&self, outcome: &Outcome, ttl: Option<Duration>) -> Option<Duration> {
        let life = match outcome {
            // An answer that is too long is asked for again rather than held.
            Ok(addresses) if addresses.len() > self.most_addresses => return None,
            Ok(_) => ttl.filter(|ttl| !ttl.is_zero())?.clamp(SHORTEST, LONGEST),
            Err(Miss::NoAddress) => ttl.unwrap_or(UNSAID_ABSENCE).min(self.longest_absence),
            Err(Miss::Failed) => FAILURE.min(self.longest_absence),
            Err(Miss::TimedOut) => return None,
        };
        (!life.is_zero()).then_some(life)
    }
}

/// Forgets what is over, or else what is over next.
fn make_room(entries: &mut HashMap<Name, Entry>, now: Instant) {
    let full = entries.len();
    entries.retain(|_, entry| entry.until > now);
    if entries.len() == full {
        let next = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(name, _)| name.clone());
        if let Some(next) = next {
            entries.remove(&next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use config::Name;
    use tokio::time::Instant;

    use super::{Cache, Miss, Outcome};

    fn name(text: &str) -> Name {
        Name::parse_text(text).unwrap()
    }

    fn found(addresses: usize) -> Outcome {
        Ok(vec![IpAddr::from([8, 8, 8, 8]); addresses].into())
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_lives_as_long_as_it_says_within_bounds() {
        for (outcome, ttl, life) in [
            (found(1), seconds(0), 0),
            (found(1), None, 0),
            (found(1), seconds(1), 5),
            (found(1), seconds(60), 60),
            (found(1), seconds(86_400), 300),
            (found(32), seconds(60), 60),
            (found(33), seconds(60), 0),
            (Err(Miss::NoAddress), seconds(10), 10),
            (Err(Miss::NoAddress), seconds(3600), 30),
            (Err(Miss::NoAddress), seconds(0), 0),
            (Err(Miss::NoAddress), None, 5),
            (Err(Miss::Failed), None, 1),
            (Err(Miss::TimedOut), None, 0),
        ] {
            let cache = Cache::new(10, 32, Duration::from_secs(30));
            let now = Instant::now();
            cache.keep(&name("a.example"), &outcome, ttl, now);
            let at = |seconds| cache.find(&name("a.example"), now + Duration::from_secs(seconds));
            assert_eq!(at(life), None, "{outcome:?} {ttl:?}");
            if let Some(before) = life.checked_sub(1) {
                assert_eq!(at(before), Some(outcome));
            }
        }
    }

    #[test]
    fn the_cache_stays_within_its_bound_and_forgets_what_ends_first() {
        let cache = Cache::new(3, 32, Duration::from_secs(30));
        let now = Instant::now();
        for (text, ttl) in [("a.example", 60), ("b.example", 10), ("c.example", 60), ("d.example", 60)] {
            cache.keep(&name(text), &found(1), seconds(ttl), now);
        }
        assert_eq!(cache.entries.lock().unwrap().len(), 3);
        assert!(cache.find(&name("b.example"), now).is_none());
        let later = now + Duration::from_secs(100);
        cache.keep(&name("e.example"), &found(1), seconds(60), later);
        assert_eq!(cache.entries.lock().unwrap().len(), 1, "what is over makes room first");
    }
}
