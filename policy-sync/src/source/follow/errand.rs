//! What is fetched and proved beside the frames: records, a snapshot and its chunks, and what is kept when keys change.
//!
//! An errand runs while hints go on being enforced; the proving happens on other threads. It puts nothing in force itself.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::proof::{self, Opened, Proven, Reproved};
use crate::envelope::{Envelope, PayloadType};
use crate::log::{Entry, LogFault, Position, read_chunk};
use crate::source::intake::Authorities;
use crate::source::kept::Kept;
use crate::transport::{Link, TransportFault};

/// How many records are asked for at a time.
pub(super) const MOST_RECORDS: usize = 256;

/// What an errand brought back.
pub(super) enum Brought {
    Records(Result<Vec<Result<Proven, LogFault>>, TransportFault>),
    Head(Result<Option<Bytes>, TransportFault>),
    /// A chunk is at hand; these are the revocations in it.
    Chunk(Result<Vec<Opened>, ChunkFault>),
    /// Everything else in a chunk that is at hand.
    Entries(Result<Vec<Opened>, ChunkFault>),
    /// What is kept under these digests, and what it proves now.
    Kept(Vec<Reproved>),
}

/// Why a chunk is not to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChunkFault {
    #[error("a chunk that the snapshot names is not there")]
    Missing,
    #[error(transparent)]
    Log(#[from] LogFault),
    #[error(transparent)]
    Transport(#[from] TransportFault),
    #[error("a chunk cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
    #[error("it was not finished")]
    Unfinished,
}

pub(super) type Errand = BoxFuture<'static, Brought>;

/// Fetches and proves the records behind a position.
pub(super) fn records(link: Arc<dyn Link>, after: Position, authorities: Arc<Authorities>) -> Errand {
    Box::pin(async move {
        let fetched = match link.records(&after, MOST_RECORDS).await {
            Ok(fetched) => fetched,
            Err(fault) => return Brought::Records(Err(fault)),
        };
        let opened = spawn_blocking(move || proof::open_all(&fetched, &authorities)).await;
        Brought::Records(opened.map_err(|fault| TransportFault(fault.to_string())))
    })
}

/// Fetches the head of the latest snapshot.
pub(super) fn head(link: Arc<dyn Link>) -> Errand {
    Box::pin(async move { Brought::Head(link.snapshot().await) })
}

/// Fetches a chunk, unless it is at hand from an earlier attempt, and keeps it.
pub(super) fn chunk(
    link: Arc<dyn Link>,
    kept: Kept,
    digest: [u8; 32],
    authorities: Arc<Authorities>,
) -> Errand {
    Box::pin(async move {
        let at_hand = kept.clone();
        let entries = match spawn_blocking(move || entries_at_hand(&at_hand, &digest)).await {
            Ok(Ok(entries)) => Ok(entries),
            Ok(Err(_)) | Err(_) => fetch_chunk(&link, kept, digest).await,
        };
        let proved = match entries {
            Ok(entries) => prove(entries.into_iter().filter(is_revocation).collect(), authorities).await,
            Err(fault) => Err(fault),
        };
        Brought::Chunk(proved)
    })
}

async fn fetch_chunk(link: &Arc<dyn Link>, kept: Kept, digest: [u8; 32]) -> Result<Vec<Entry>, ChunkFault> {
    let chunk = link.chunk(&digest).await?.ok_or(ChunkFault::Missing)?;
    let read = spawn_blocking(move || {
        let entries = read_chunk(&digest, &chunk)?;
        kept.keep_chunk(&digest, &chunk)?;
        Ok(entries)
    });
    read.await.unwrap_or(Err(ChunkFault::Unfinished))
}

/// Proves everything in a chunk that is at hand, but for the revocations: those were taken when it came.
pub(super) fn entries(kept: Kept, digest: [u8; 32], authorities: Arc<Authorities>) -> Errand {
    Box::pin(async move {
        let read = spawn_blocking(move || entries_at_hand(&kept, &digest)).await;
        Brought::Entries(match read.unwrap_or(Err(ChunkFault::Unfinished)) {
            Ok(mut entries) => {
                entries.retain(|entry| !is_revocation(entry));
                prove(entries, authorities).await
            }
            Err(fault) => Err(fault),
        })
    })
}

fn entries_at_hand(kept: &Kept, digest: &[u8; 32]) -> Result<Vec<Entry>, ChunkFault> {
    let chunk = kept.chunk(digest).ok_or(ChunkFault::Missing)?;
    Ok(read_chunk(digest, &chunk)?)
}

fn is_revocation(entry: &Entry) -> bool {
    matches!(entry, Entry::Revocation(_))
}

async fn prove(entries: Vec<Entry>, authorities: Arc<Authorities>) -> Result<Vec<Opened>, ChunkFault> {
    let proved = spawn_blocking(move || proof::check_all(entries, &authorities)).await;
    proved.map_err(|_| ChunkFault::Unfinished)
}

/// Reads what is kept or parked under these digests, and proves it anew.
pub(super) fn kept(kept: Kept, digests: Vec<[u8; 32]>, authorities: Arc<Authorities>) -> Errand {
    Box::pin(async move {
        let unread: Vec<_> = digests.iter().map(|digest| (*digest, None)).collect();
        let proved = spawn_blocking(move || reprove(&kept, &digests, &authorities)).await;
        Brought::Kept(proved.unwrap_or(unread))
    })
}

/// What is kept under each of these digests, and what it proves.
pub(super) fn reprove(kept: &Kept, digests: &[[u8; 32]], authorities: &Authorities) -> Vec<Reproved> {
    proof::in_parallel(digests, |digest| {
        let envelope = kept.envelope(digest).ok().map(Bytes::from);
        let entry = envelope.and_then(|envelope| match Envelope::read(&envelope).ok()?.payload_type() {
            PayloadType::Manifest => Some(Entry::Manifest(envelope)),
            PayloadType::Revocation => Some(Entry::Revocation(envelope)),
            PayloadType::Record
            | PayloadType::Heartbeat
            | PayloadType::Snapshot
            | PayloadType::Lease
            | PayloadType::Report => None,
        });
        let proved = entry.map(|entry| {
            let checked = proof::check(&entry, authorities);
            (entry, checked)
        });
        (*digest, proved)
    })
}
