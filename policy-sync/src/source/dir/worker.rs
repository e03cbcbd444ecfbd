//! The thread of a directory source: from wakes to publications.
//!
//! Takes whatever wakes are waiting, reads the files they name, and publishes. Few changes are published one by one, so
//! that each revocation has a receipt of its own; many are published together. Revocations come before manifests.

use std::io;
use std::time::{Duration, Instant};

use audit::{Event, EventType};
use certs::Document;
use jiff::Timestamp;

use super::CrlSink;
use super::folder::{Folder, Seen, Standing};
use super::scout::{Files, Found, Reading, Scout};
use crate::files;
use crate::snapshot::PolicyBounds;
use crate::source::intake::{Authorities, Held, Intake, Kind};
use crate::source::memory::Memory;

/// How many files are read between two publications at most.
const LARGEST_BATCH: usize = 256;
/// Up to so many changes are published one by one.
const ONE_BY_ONE: usize = 16;

pub(super) struct Worker {
    scout: Scout,
    intake: Intake,
    memory: Memory,
    crls: CrlSink,
    /// What is held from the last good policy until the directory has been read once.
    provisional: Vec<Held>,
    up: Option<bool>,
    /// Whether what is kept has been compared with what the directory holds.
    pruned: bool,
    crls_changed: bool,
}

impl Worker {
    pub(super) fn new(scout: Scout, (intake, memory): (Intake, Memory), crls: CrlSink) -> Self {
        let provisional = Vec::new();
        Self { scout, intake, memory, crls, provisional, up: None, pruned: false, crls_changed: true }
    }

    /// The first reading: the directory, or the last good policy when it is away.
    pub(super) fn begin(&mut self) {
        let began = Instant::now();
        self.intake.leave_log();
        let changed = self.look_at_everything(true);
        if self.up == Some(false) {
            self.fall_back();
        }
        let files: Vec<_> = changed.into_iter().collect();
        for (kind, name) in &files {
            self.look_at(*kind, name);
        }
        self.take_over_crls();
        self.intake.publish(began);
        self.remember();
        self.settle();
    }

    /// Works until the source is dropped.
    pub(super) fn run(mut self, rescan: Duration) {
        let mut rescanned = Instant::now();
        loop {
            let due = self.scout.wait(rescan.saturating_sub(rescanned.elapsed()));
            if due.stop {
                break;
            }
            let noticed = due.noticed.unwrap_or_else(Instant::now);
            let mut files = due.files;
            if let Some(reload) = due.reload {
                let (authorities, bounds) = *reload;
                self.rebound(authorities, bounds);
            }
            if due.everything || rescanned.elapsed() >= rescan {
                files.extend(self.look_at_everything(due.everything));
                rescanned = Instant::now();
            }
            self.apply(&files.into_iter().collect::<Vec<_>>(), noticed);
        }
        self.memory.write(self.intake.close());
    }

    fn remember(&mut self) {
        self.memory.write(self.intake.writing());
    }

    fn rebound(&mut self, authorities: Authorities, bounds: PolicyBounds) {
        self.intake.rebound(authorities, bounds);
        self.scout.folders.iter_mut().for_each(Folder::forget_versions);
        if self.up == Some(false) {
            // What is held cannot be read again: it stands or falls by what was kept of it.
            let held = self
                .scout
                .folders
                .iter_mut()
                .flat_map(Folder::surrender)
                .chain(std::mem::take(&mut self.provisional));
            held.collect::<Vec<_>>().iter().for_each(|held| self.intake.release(held));
            self.fall_back();
        }
    }

    fn look_at_everything(&mut self, thorough: bool) -> Files {
        let Found { files, fault } = self.scout.look_at_everything(thorough);
        self.note_source(fault);
        files
    }

    fn note_source(&mut self, fault: Option<(std::path::PathBuf, io::Error)>) {
        let up = fault.is_none();
        if let Some((path, fault)) = fault.filter(|_| self.up != Some(false)) {
            tracing::error!(%fault, path = %path.display(), "the policy source cannot be read; the last policy stays");
            let detail = format!("{}: {fault}", path.display());
            self.intake.recorder().record(Event::new(EventType::PolicySourceFault).detail(detail));
        } else if up && self.up == Some(false) {
            tracing::info!("the policy source can be read again");
        }
        self.up = Some(up);
        self.intake.metrics.source_up.set(i64::from(up));
    }

    fn apply(&mut self, files: &[(Kind, String)], noticed: Instant) {
        let one_by_one = files.len() <= ONE_BY_ONE;
        for batch in files.chunks(LARGEST_BATCH) {
            for (kind, name) in batch {
                self.look_at(*kind, name);
                if one_by_one && *kind == Kind::Revocation {
                    self.intake.publish(noticed);
                }
            }
            self.take_over_crls();
            self.intake.publish(noticed);
            self.remember();
        }
        if files.is_empty() {
            // A reload, or what could not be written before.
            self.intake.publish(noticed);
            self.remember();
        }
        self.settle();
    }

    /// Reads a file and puts what it says in place of what it said before.
    fn look_at(&mut self, kind: Kind, name: &str) {
        let before = self.scout.folder(kind).seen(name).map(|seen| seen.standing.clone());
        let origin = format!("{}/{name}", kind.folder());
        let seen = match self.scout.read(kind, name) {
            Reading::Same => return,
            Reading::Read(bytes, version) => {
                let standing = self.offer(kind, name, &origin, &bytes, before.as_ref());
                Some(Seen { version: Some(version), standing })
            }
            Reading::Gone => None,
            Reading::Unreadable(fault) => {
                if before != Some(Standing::Refused) {
                    self.intake.unreadable(kind, &origin, &fault);
                }
                Some(Seen { version: None, standing: Standing::Refused })
            }
        };
        if let Some(Standing::Held(held)) = before {
            self.intake.release(&held);
        }
        self.scout.note(kind, name, seen);
    }

    fn offer(
        &mut self,
        kind: Kind,
        name: &str,
        origin: &str,
        bytes: &[u8],
        before: Option<&Standing>,
    ) -> Standing {
        match kind {
            Kind::Manifest => {
                match self.intake.offer_manifest(origin, bytes, before == Some(&Standing::NotYet)) {
                    Ok(held) => Standing::Held(held),
                    Err(refused) if refused.passes() => Standing::NotYet,
                    Err(_) => Standing::Refused,
                }
            }
            Kind::Revocation => match self.intake.offer_statement(origin, bytes) {
                Ok(()) => Standing::Taken,
                Err(_) => Standing::Refused,
            },
            Kind::Crl => {
                self.crls_changed = true;
                if let Err(fault) = self.memory.kept.keep_crl(name, bytes) {
                    tracing::error!(%fault, name, "a CRL is not kept; a restart without the source would not know it");
                }
                Standing::Taken
            }
        }
    }

    /// Hands the CRLs on when one of them has changed: those in the folder, and those that were there once.
    fn take_over_crls(&mut self) {
        if !std::mem::take(&mut self.crls_changed) {
            return;
        }
        let folder = self.scout.folder(Kind::Crl);
        let present = folder.names().filter_map(|name| {
            let (bytes, _) = files::read(&folder.path.join(name), Kind::Crl.largest()).ok()?;
            Some(Document::new(format!("crls/{name}"), bytes))
        });
        let mut documents: Vec<_> = present.collect();
        let kept = self.memory.kept.crls().unwrap_or_else(|fault| {
            tracing::error!(%fault, "the CRLs that were kept cannot be read");
            Vec::new()
        });
        documents.extend(
            kept.into_iter().filter(|kept| !folder.names().any(|name| kept.origin == format!("kept:{name}"))),
        );
        if !documents.is_empty() {
            (self.crls)(documents);
        }
    }

    /// Holds the manifests of the last good policy until the directory can be read.
    fn fall_back(&mut self) {
        let kept = self.memory.kept.manifests().unwrap_or_else(|fault| {
            tracing::error!(%fault, "the last good policy cannot be read");
            Vec::new()
        });
        for (name, envelope) in kept {
            self.provisional
                .extend(self.intake.offer_manifest(&format!("kept:{name}"), &envelope, false).ok());
        }
        if let Some(age) = self.memory.kept.age(Timestamp::now()) {
            self.intake.feed().set_age(age);
        }
        tracing::warn!(manifests = self.provisional.len(), "started from the last good policy");
    }

    /// After a reading that went well: the policy is fresh, and nothing is held provisionally any more.
    fn settle(&mut self) {
        for folder in &self.scout.folders {
            let refused = i64::try_from(folder.refused()).unwrap_or(i64::MAX);
            self.intake.metrics.refused_files.with_label_values(&[folder.kind.as_str()]).set(refused);
        }
        if self.up != Some(true) {
            return;
        }
        for held in std::mem::take(&mut self.provisional) {
            self.intake.release(&held);
        }
        self.intake.publish(Instant::now());
        self.remember();
        if !std::mem::replace(&mut self.pruned, true) {
            self.prune();
        }
        self.intake.feed().stamp_fresh();
        if let Err(fault) = self.memory.kept.stamp_fresh(Timestamp::now()) {
            tracing::error!(%fault, "the age of the policy is not written down");
        }
    }

    /// Drops what is kept of manifests that are not live any more.
    fn prune(&self) {
        let live = self.intake.live();
        if let Err(fault) = self.memory.kept.retain(|digest| live.contains(digest)) {
            tracing::error!(%fault, "the last good policy on disk is not up to date");
        }
    }
}
