//! Which tokens were taken already? Known for as long as a token may be old; bounded.
//!
//! Kept in memory; what of it has to outlive the process is noted by `taken`.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use sha2::Digest as _;

/// How many tokens of one transmitter are remembered.
const MOST: usize = 1 << 18;

/// A token by its `jti`: the beginning of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenId([u8; 16]);

impl TokenId {
    pub(super) fn of(jti: &str) -> Self {
        let digest: [u8; 32] = sha2::Sha256::digest(jti).into();
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        Self(id)
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Until when, in Unix seconds, a token has to be known: until it is `max_age` old, by the later of when it was issued and now.
pub(super) fn known_until(issued: Timestamp, max_age: Duration, now: Timestamp) -> i64 {
    let age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    issued.as_second().max(now.as_second()).saturating_add(age).saturating_add(1)
}

/// The tokens of one transmitter that were taken.
#[derive(Debug, Default)]
pub(super) struct Replays {
    known: HashSet<TokenId>,
    /// In the order in which they were taken, each with when it is too old to be taken anyway.
    order: VecDeque<(i64, TokenId)>,
}

impl Replays {
    pub(super) fn knows(&self, id: TokenId) -> bool {
        self.known.contains(&id)
    }

    /// Whether no further token could be remembered.
    pub(super) fn is_full(&mut self, now: Timestamp) -> bool {
        self.forget(now);
        self.order.len() >= MOST
    }

    /// Remembers a token until this Unix second.
    pub(super) fn keep(&mut self, id: TokenId, until: i64, now: Timestamp) {
        self.forget(now);
        if self.known.insert(id) {
            self.order.push_back((until, id));
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.order.front().copied()
            && until < now.as_second()
        {
            self.order.pop_front();
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_known_for_as_long_as_it_could_be_taken() {
        let mut replays = Replays::default();
        let (early, late) = (TokenId::of("early"), TokenId::of("late"));
        let age = Duration::from_secs(10);
        replays.keep(early, known_until(at(100), age, at(100)), at(100));
        replays.keep(late, known_until(at(105), age, at(103)), at(103));
        assert!(replays.knows(early) && replays.knows(late) && !replays.knows(TokenId::of("other")));
        assert!(!replays.is_full(at(111)));
        assert!(replays.knows(early));
        assert!(!replays.is_full(at(112)));
        assert!(!replays.knows(early) && replays.knows(late));
    }

    #[test]
    fn what_cannot_be_remembered_is_said_to_be_too_much() {
        let mut replays = Replays::default();
        for number in 0..MOST {
            replays.keep(TokenId::of(&number.to_string()), 11, at(0));
        }
        assert!(replays.is_full(at(5)));
        assert!(!replays.is_full(at(12)));
    }
}
