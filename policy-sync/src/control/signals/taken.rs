//! What is remembered of taken tokens beyond the life of the process?
//!
//! A token that withdrew something is noted beside the log before it is acknowledged: whose it was, which one, and until
//! when it could be taken, all in the name of a cell. So a token that comes again after a restart does not withdraw anew what
//! somebody has lifted meanwhile. Bounded as the memory is, and in time: cells go when their token is too old to be taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::Digest as _;

use super::replay::{Replays, TokenId};
use crate::target::{from_hex, to_hex};
use crate::transport::{AppendFault, Transport, TransportFault};

/// How often the cells of tokens that are too old are removed.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const CELLS: &str = "signal/";

/// A transmitter by its `iss`: the beginning of its SHA-256.
type Tag = [u8; 8];

/// The tokens that were taken, of every transmitter.
pub(super) struct TakenTokens {
    transport: Arc<dyn Transport>,
    of: Mutex<HashMap<Tag, Arc<Mutex<Replays>>>>,
}

impl TakenTokens {
    /// Those that are noted beside the log.
    ///
    /// # Errors
    /// When they cannot be read: then it is not known what was taken.
    pub(super) async fn open(transport: Arc<dyn Transport>, now: Timestamp) -> Result<Self, TransportFault> {
        let mut noted: Vec<_> = transport.cells(CELLS).await?.iter().filter_map(|key| parse(key)).collect();
        noted.retain(|(_, until, _)| *until >= now.as_second());
        noted.sort_unstable_by_key(|(_, until, _)| *until);
        let taken = Self { transport, of: Mutex::default() };
        for (tag, until, id) in noted {
            taken.tagged(tag).lock().unwrap_or_else(PoisonError::into_inner).keep(id, until, now);
        }
        Ok(taken)
    }

    /// The tokens of the transmitter with this `iss`.
    pub(super) fn of(&self, issuer: &str) -> Arc<Mutex<Replays>> {
        self.tagged(tag(issuer))
    }

    fn tagged(&self, tag: Tag) -> Arc<Mutex<Replays>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(of.entry(tag).or_default())
    }

    /// Notes a token beside the log.
    pub(super) async fn note(&self, issuer: &str, id: TokenId, until: i64) -> Result<(), TransportFault> {
        let key = format!("{CELLS}{}-{}-{}", to_hex(&tag(issuer)), until.max(0), to_hex(id.as_bytes()));
        match self.transport.set_cell(&key, None, Bytes::from_static(b"1")).await {
            // Taken: another control plane has noted the same.
            Ok(()) | Err(AppendFault::Taken) => Ok(()),
            Err(AppendFault::Transport(fault)) => Err(fault),
        }
    }

    /// Removes, every now and then, what is too old to be taken.
    pub(super) async fn forget_on(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(fault) = self.forget(Timestamp::now()).await {
                tracing::warn!(%fault, "signals that were taken long ago are still noted");
            }
        }
    }

    pub(super) async fn forget(&self, now: Timestamp) -> Result<(), TransportFault> {
        for key in self.transport.cells(CELLS).await? {
            if parse(&key).is_some_and(|(_, until, _)| until >= now.as_second()) {
                continue;
            }
            let Some((version, _)) = self.transport.cell(&key).await? else { continue };
            match self.transport.set_cell(&key, Some(version), Bytes::new()).await {
                Ok(()) | Err(AppendFault::Taken) => {}
                Err(AppendFault::Transport(fault)) => return Err(fault),
            }
        }
        Ok(())
    }
}

fn tag(issuer: &str) -> Tag {
    let digest: [u8; 32] = sha2::Sha256::digest(issuer).into();
    digest.first_chunk().copied().unwrap_or_default()
}

fn parse(key: &str) -> Option<(Tag, i64, TokenId)> {
    let mut parts = key.strip_prefix(CELLS)?.split('-');
    let (tag, until, id) = (parts.next()?, parts.next()?, parts.next()?);
    Some((
        from_hex(tag)?.try_into().ok()?,
        until.parse().ok()?,
        TokenId::from_bytes(from_hex(id)?.try_into().ok()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::memory::MemoryLog;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn knows(taken: &TakenTokens, issuer: &str, jti: &str) -> bool {
        taken.of(issuer).lock().unwrap().knows(TokenId::of(jti))
    }

    #[tokio::test]
    async fn what_was_noted_is_known_after_a_restart_until_it_is_too_old() {
        let log = MemoryLog::default();
        let open = async |now| TakenTokens::open(Arc::new(log.clone()), at(now)).await.unwrap();
        let taken = open(100).await;
        taken.note("https://idp.example", TokenId::of("one"), 200).await.unwrap();
        taken.note("https://idp.example", TokenId::of("one"), 200).await.unwrap();
        taken.note("https://idp.example", TokenId::of("two"), 300).await.unwrap();
        let again = open(150).await;
        assert!(knows(&again, "https://idp.example", "one") && knows(&again, "https://idp.example", "two"));
        assert!(!knows(&again, "https://mdm.example", "one"));
        again.forget(at(250)).await.unwrap();
        assert_eq!(log.cells(CELLS).await.unwrap().len(), 1);
        let later = open(100).await;
        assert!(!knows(&later, "https://idp.example", "one") && knows(&later, "https://idp.example", "two"));
    }

    #[tokio::test]
    async fn a_cell_that_says_nothing_is_passed_over_and_removed() {
        let log = MemoryLog::default();
        for key in ["signal/x", "signal/00-1-00", "signal/0011223344556677-later-00"] {
            log.set_cell(key, None, Bytes::from_static(b"1")).await.unwrap();
        }
        let taken = TakenTokens::open(Arc::new(log.clone()), at(0)).await.unwrap();
        taken.forget(at(0)).await.unwrap();
        assert!(log.cells(CELLS).await.unwrap().is_empty());
    }
}
