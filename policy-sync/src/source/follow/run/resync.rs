//! How a snapshot is taken: its chunks fetched, the revocations in them enforced at once, then everything put in force.

use std::collections::{HashSet, VecDeque};

use super::Runner;
use crate::log::SnapshotHead;
use crate::source::follow::course::Bearing;
use crate::source::follow::errand::ChunkFault;
use crate::source::follow::proof::Opened;
use crate::source::follow::refusal::Refusal;
use crate::source::follow::replica::Progress;

/// What the follower does with a snapshot at the moment.
pub(super) enum Resync {
    /// Its chunks are being fetched, and the revocations in them enforced.
    Fetching { head: SnapshotHead, next: usize },
    /// All of them are at hand; their entries are being put in force.
    Taking { head: SnapshotHead, next: usize, named: HashSet<[u8; 32]>, slices: VecDeque<Opened> },
}

impl Runner {
    pub(super) fn take_head(&mut self, head: &[u8]) {
        match self.replica.take_head(head) {
            Ok((head, Bearing::Ahead)) => {
                tracing::info!(position = %head.position, chunks = head.chunks.len(), "following from a snapshot");
                self.resync = Some(Resync::Fetching { head, next: 0 });
                self.advance_resync();
            }
            Ok((_, Bearing::Here)) | Err(_) => {
                self.replica.go_without_snapshot();
                self.went(Progress::Nothing);
            }
        }
    }

    pub(super) fn take_chunk(&mut self, revocations: Vec<Opened>) {
        let mut named = HashSet::new();
        self.replica.take_entries(revocations, &mut named);
        let mut last = true;
        if let Some(Resync::Fetching { head, next }) = &mut self.resync {
            *next += 1;
            last = *next >= head.chunks.len();
        }
        self.publish_in_time(last);
        self.went(Progress::Some);
        self.advance_resync();
    }

    pub(super) fn take_entries(&mut self, entries: Vec<Opened>) {
        if let Some(Resync::Taking { next, slices, .. }) = &mut self.resync {
            *next += 1;
            slices.extend(entries);
        }
        self.advance_resync();
    }

    /// From fetching to taking, and from taking to having taken, as soon as there is nothing left to do.
    pub(super) fn advance_resync(&mut self) {
        self.resync = match self.resync.take() {
            Some(Resync::Fetching { head, next }) if next >= head.chunks.len() => {
                Some(Resync::Taking { head, next: 0, named: HashSet::new(), slices: VecDeque::new() })
            }
            other => other,
        };
        match &self.resync {
            Some(Resync::Taking { head, next, named, slices })
                if *next >= head.chunks.len() && slices.is_empty() =>
            {
                self.replica.arrive_by_snapshot(head.position, named);
                tracing::info!(position = %head.position, "followed to the snapshot");
                self.resync = None;
                self.went(Progress::Some);
            }
            _ => {}
        }
    }

    pub(super) fn give_up(&mut self, fault: &ChunkFault) {
        let refusal = match fault {
            ChunkFault::Missing => Some(Refusal::Missing),
            ChunkFault::Log(fault) => Some(Refusal::from(fault)),
            ChunkFault::Transport(_) | ChunkFault::Disk(_) | ChunkFault::Unfinished => None,
        };
        match refusal {
            Some(refusal) => self.replica.refusals.note(refusal, format_args!("snapshot: {fault}")),
            None => tracing::warn!(%fault, "the snapshot was not had"),
        }
        // A newer one may have taken its place; what is at hand of this one is used again.
        self.resync = None;
        self.went(Progress::Nothing);
    }
}
