//! What the log comes to, and which log it is: a bucket that gateways may read.
//!
//! The head is one value, and carries the [`Era`] in its headers: whoever founds the log anew changes both at once. Chunks
//! lie under their digests. One that no head names is dropped only when it is old, because another control plane may
//! just be writing the head that will.

use std::sync::{Mutex, PoisonError};

use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use jiff::Timestamp;

use super::NatsFault;
use super::bucket::{Bucket, Kept};
use super::names::Names;
use super::records::{Era, Records};
use crate::log::SnapshotHead;
use crate::target::to_hex;
use crate::transport::{AppendFault, TransportFault};

/// The bucket, under the prefix.
pub(super) const BUCKET: &str = "snapshots";
/// The key of the head.
pub(super) const HEAD: &str = "head";
/// What the keys of chunks begin with.
const CHUNK: &str = "chunk/";
const EPOCH: &str = "Portcullis-Epoch";
const BASE: &str = "Portcullis-Base";
/// How old a chunk must be before it is dropped or, when it is kept again, renewed: in seconds.
const DROP_AFTER: i64 = 600;
const RENEW_AFTER: i64 = 200;

/// The snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    bucket: Bucket,
    /// The era that was seen last. Good enough for a write: behind the mark of a newer one it does not fit.
    seen: Mutex<Option<Era>>,
}

impl Snapshots {
    pub(super) async fn open(jetstream: &jetstream::Context, names: &Names) -> Result<Self, NatsFault> {
        Ok(Self { bucket: Bucket::open(jetstream, &names.bucket(BUCKET)).await?, seen: Mutex::new(None) })
    }

    /// Which log there is.
    pub(super) async fn era(&self) -> Result<Era, TransportFault> {
        let era =
            self.bucket.value(HEAD).await?.map_or(Era { epoch: None, base: 0 }, |kept| era(&kept.headers));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(era);
        Ok(era)
    }

    /// The same, if a record of this epoch belongs into it.
    pub(super) async fn era_for(&self, epoch: u64) -> Result<Option<Era>, TransportFault> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let belongs = |era: &Era| era.epoch.is_none_or(|own| own == epoch);
        match seen.filter(belongs) {
            Some(era) => Ok(Some(era)),
            None => Ok(Some(self.era().await?).filter(belongs)),
        }
    }

    pub(super) async fn head(&self) -> Result<Option<Bytes>, TransportFault> {
        Ok(self.bucket.value(HEAD).await?.map(|kept| kept.value))
    }

    pub(super) async fn chunk(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, TransportFault> {
        Ok(self.bucket.value(&chunk_key(digest)).await?.map(|kept| kept.value))
    }

    pub(super) async fn keep_chunk(&self, digest: &[u8; 32], chunk: Bytes) -> Result<(), TransportFault> {
        let key = chunk_key(digest);
        let there = self.bucket.value(&key).await?;
        if there.as_ref().is_some_and(|kept| age(kept) < RENEW_AFTER) {
            return Ok(());
        }
        match self.bucket.set(&key, there.map(|kept| kept.revision), chunk, HeaderMap::new()).await {
            // Somebody else has kept or renewed the very same.
            Ok(_) | Err(AppendFault::Taken) => Ok(()),
            Err(AppendFault::Transport(fault)) => Err(fault),
        }
    }

    /// Keeps a head that is further than the one that is there. One of a higher epoch founds the log anew.
    pub(super) async fn keep(
        &self,
        records: &Records,
        head: Bytes,
        keep_after: u64,
    ) -> Result<(), TransportFault> {
        let new = read(&head)?;
        let there = self.bucket.value(HEAD).await?;
        let revision = there.as_ref().map(|kept| kept.revision);
        let now = match &there {
            Some(kept) => {
                let old = read(&kept.value)?.position;
                if (new.position.epoch, new.position.sequence) <= (old.epoch, old.sequence) {
                    return Ok(());
                }
                era(&kept.headers)
            }
            None => Era { epoch: records.first_epoch().await?.or(Some(new.position.epoch)), base: 0 },
        };
        let era = match now.epoch {
            Some(epoch) if new.position.epoch < epoch => {
                return Err(TransportFault("the snapshot is of an older log".into()));
            }
            Some(epoch) if new.position.epoch == epoch => now,
            Some(_) | None => self.found_anew(records, &new).await?,
        };
        match self.bucket.set(HEAD, revision, head, headers(&new, &era)).await {
            Ok(_) => {}
            // Another control plane keeps one at this moment; there will be another time.
            Err(AppendFault::Taken) => return Ok(()),
            Err(AppendFault::Transport(fault)) => return Err(fault),
        }
        if keep_after > 0 {
            records.drop_until(era.place(keep_after.min(new.position.sequence))).await?;
        }
        self.drop_chunks(&new).await
    }

    /// The record that follows the snapshot stands right behind the mark.
    async fn found_anew(&self, records: &Records, head: &SnapshotHead) -> Result<Era, TransportFault> {
        let mark = match records.begin_anew().await {
            Ok(mark) => mark,
            Err(AppendFault::Taken) => {
                return Err(TransportFault("another control plane writes into the log".into()));
            }
            Err(AppendFault::Transport(fault)) => return Err(fault),
        };
        Ok(Era {
            epoch: Some(head.position.epoch),
            base: mark.cast_signed() - head.position.sequence.cast_signed(),
        })
    }

    async fn drop_chunks(&self, head: &SnapshotHead) -> Result<(), TransportFault> {
        let named: std::collections::HashSet<String> = head.chunks.iter().map(chunk_key).collect();
        for key in self.bucket.keys(CHUNK).await? {
            if named.contains(&key) {
                continue;
            }
            let Some(kept) = self.bucket.value(&key).await? else { continue };
            if age(&kept) >= DROP_AFTER
                && let Err(AppendFault::Transport(fault)) =
                    self.bucket.remove(&key, Some(kept.revision)).await
            {
                return Err(fault);
            }
        }
        Ok(())
    }
}

/// The key of a chunk.
pub(super) fn chunk_key(digest: &[u8; 32]) -> String {
    format!("{CHUNK}{}", to_hex(digest))
}

/// The era that a head was kept with.
pub(super) fn era(headers: &HeaderMap) -> Era {
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    let epoch = text(EPOCH).and_then(|text| text.parse().ok());
    Era { epoch, base: text(BASE).and_then(|text| text.parse().ok()).unwrap_or(0) }
}

fn headers(head: &SnapshotHead, era: &Era) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EPOCH, head.position.epoch.to_string());
    headers.insert(BASE, era.base.to_string());
    headers
}

fn read(head: &[u8]) -> Result<SnapshotHead, TransportFault> {
    SnapshotHead::read_own(head).map_err(|fault| TransportFault(format!("the snapshot's head: {fault}")))
}

fn age(kept: &Kept) -> i64 {
    Timestamp::now().as_second() - kept.at
}
