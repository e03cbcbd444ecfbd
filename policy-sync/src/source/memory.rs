//! What must not be forgotten, written in the order that counts: files first, then the journal, a position in a log last.
//!
//! A position says that everything before it is on the disk, so it is withheld as long as anything is owed. What cannot be
//! written is tried again with whatever comes next. Nothing here decides anything; it may run on a thread of its own.

use std::io;

use bytes::Bytes;
use config::files::Reach;
use jiff::Timestamp;

use crate::journal::{Entry, Journal};
use crate::log::Position;
use crate::metrics::PolicyMetrics;
use crate::source::kept::Kept;

/// In larger batches, what is kept of manifests is not synced file by file.
const SYNCED_BATCH: usize = 32;

/// Something to be done to the files that are kept.
#[derive(Debug)]
pub(crate) enum FileWork {
    /// Keep the envelope of a live manifest.
    Keep { digest: [u8; 32], envelope: Bytes },
    /// Drop the envelope of one that is no longer live.
    Drop { digest: [u8; 32] },
    /// Keep an envelope that is not admitted for now.
    Park { digest: [u8; 32], envelope: Bytes },
    /// Drop one that was parked.
    Unpark { digest: [u8; 32] },
    /// Keep a CRL under this name.
    KeepCrl { name: String, document: Bytes },
    /// The snapshot that was on its way has arrived.
    DropChunks,
}

/// What has happened and is to be written down.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    pub(crate) files: Vec<FileWork>,
    pub(crate) entries: Vec<Entry>,
    /// How far the log was followed with all of this.
    pub(crate) position: Option<Position>,
    /// When the source was last heard of.
    pub(crate) fresh: Option<Timestamp>,
}

impl Writing {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.entries.is_empty() && self.position.is_none() && self.fresh.is_none()
    }

    /// Both, as one.
    pub(crate) fn absorb(&mut self, later: Self) {
        self.files.extend(later.files);
        self.entries.extend(later.entries);
        self.position = later.position.or(self.position);
        self.fresh = later.fresh.or(self.fresh);
    }
}

/// Whether everything is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Everything that was ever to be written is.
    Durable,
    /// Some of it is still owed.
    Behind,
}

/// The journal and the files beside it.
#[derive(Debug)]
pub(crate) struct Memory {
    journal: Journal,
    pub(crate) kept: Kept,
    metrics: PolicyMetrics,
    /// What could not be done to the files yet.
    owed: Vec<FileWork>,
    /// What of the files has not been synced yet.
    unsynced: Unsynced,
    /// The position that holds once nothing is owed.
    position: Option<Position>,
}

/// What was done to files and may not survive a crash of the machine. In order of what it takes to make sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    Nothing,
    Dropped,
    Everything,
}

impl Memory {
    pub(crate) fn new(journal: Journal, kept: Kept, metrics: PolicyMetrics) -> Self {
        Self { journal, kept, metrics, owed: Vec::new(), unsynced: Unsynced::Nothing, position: None }
    }

    /// Writes it down, and whatever failed before.
    pub(crate) fn write(&mut self, writing: Writing) -> Durability {
        let Writing { files, mut entries, position, fresh } = writing;
        self.position = position.or(self.position);
        self.work(files);
        if self.position.is_some() && self.settle() {
            entries.extend(self.position.take().map(|position| Entry::Position(Some(position))));
        }
        if let Err(fault) = self.journal.append(entries) {
            tracing::error!(%fault, "the policy journal cannot be written; a restart would forget the latest revocations");
        }
        if let Some(Err(fault)) = fresh.map(|at| self.kept.stamp_fresh(at)) {
            tracing::error!(%fault, "the age of the policy is not written down");
        }
        self.metrics.journal_behind.set(i64::from(self.journal.behind() || self.position.is_some()));
        let owing = !self.owed.is_empty() || self.position.is_some() || self.journal.behind();
        if owing { Durability::Behind } else { Durability::Durable }
    }

    fn work(&mut self, files: Vec<FileWork>) {
        let mut due = std::mem::take(&mut self.owed);
        due.extend(files);
        let kept = due.iter().filter(|work| matches!(work, FileWork::Keep { .. })).count();
        let reach = if kept <= SYNCED_BATCH { Reach::Disk } else { Reach::Processes };
        for work in due {
            let leaves = match work {
                FileWork::Keep { .. } if reach == Reach::Processes => Unsynced::Everything,
                FileWork::Drop { .. } | FileWork::Unpark { .. } => Unsynced::Dropped,
                _ => Unsynced::Nothing,
            };
            self.unsynced = self.unsynced.max(leaves);
            if let Err(fault) = self.perform(&work, reach) {
                tracing::error!(%fault, "the last good policy on disk is not up to date");
                self.owed.push(work);
            }
        }
    }

    /// Has the files survive a crash of the machine; whether they now do. Who follows no log starts from its source, and
    /// needs no more than a good attempt.
    fn settle(&mut self) -> bool {
        let synced = match self.unsynced {
            Unsynced::Nothing => Ok(()),
            Unsynced::Dropped => self.kept.sync_dropped(),
            Unsynced::Everything => self.kept.sync(),
        };
        match synced {
            Ok(()) => self.unsynced = Unsynced::Nothing,
            Err(fault) => tracing::error!(%fault, "the last good policy on disk is not synced"),
        }
        self.owed.is_empty() && self.unsynced == Unsynced::Nothing
    }

    fn perform(&self, work: &FileWork, reach: Reach) -> io::Result<()> {
        match work {
            FileWork::Keep { digest, envelope } => self.kept.keep_manifest(digest, envelope, reach),
            FileWork::Drop { digest } => self.kept.drop_manifest(digest),
            FileWork::Park { digest, envelope } => self.kept.park(digest, envelope),
            FileWork::Unpark { digest } => self.kept.unpark(digest),
            FileWork::KeepCrl { name, document } => self.kept.keep_crl(name, document),
            FileWork::DropChunks => self.kept.drop_chunks(),
        }
    }
}
