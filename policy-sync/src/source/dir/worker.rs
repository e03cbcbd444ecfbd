//! The thread of a directory source: from wakes to publications.
//!
//! Takes whatever wakes are waiting, reads the files they name, and publishes. Few changes are published one by one, so
//! that each revocation has a receipt of its own; many are published together. Revocations come before manifests.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use audit::{Event, EventType};
use certs::Document;
use jiff::Timestamp;

use super::CrlSink;
use super::folder::{Folder, Seen, Standing};
use super::watch::{Wake, Watch};
use crate::files;
use crate::snapshot::PolicyBounds;
use crate::source::intake::{Authorities, Held, Intake, Kind};
use crate::source::memory::Memory;

/// How many files are read between two publications at most.
const LARGEST_BATCH: usize = 256;
/// Up to so many changes are published one by one.
const ONE_BY_ONE: usize = 16;

pub(super) struct Worker {
    folders: [Folder; 3],
    intake: Intake,
    memory: Memory,
    watch: Watch,
    crls: CrlSink,
    /// What is held from the last good policy until the directory has been read once.
    provisional: Vec<Held>,
    up: Option<bool>,
    /// Whether what is kept has been compared with what the directory holds.
    pruned: bool,
    crls_changed: bool,
}

/// Files that have to be looked at.
#[derive(Default)]
struct Due {
    files: BTreeSet<(Kind, String)>,
    everything: bool,
    noticed: Option<Instant>,
    reload: Option<Box<(Authorities, PolicyBounds)>>,
    stop: bool,
}

impl Worker {
    pub(super) fn new(
        directory: &Path,
        (intake, memory): (Intake, Memory),
        watch: Watch,
        crls: CrlSink,
    ) -> Self {
        let folders = Kind::ALL.map(|kind| Folder::new(directory, kind));
        let provisional = Vec::new();
        Self {
            folders,
            intake,
            memory,
            watch,
            crls,
            provisional,
            up: None,
            pruned: false,
            crls_changed: true,
        }
    }

    /// The first reading: the directory, or the last good policy when it is away.
    pub(super) fn begin(&mut self) {
        let began = Instant::now();
        self.intake.leave_log();
        self.watch.refresh();
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
    pub(super) fn run(mut self, woken: &Receiver<Wake>, rescan: Duration) {
        let mut rescanned = Instant::now();
        loop {
            let due = self.wait(woken, rescan.saturating_sub(rescanned.elapsed()));
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
                self.watch.refresh();
                files.extend(self.look_at_everything(due.everything || !self.watch.works()));
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
        self.folders.iter_mut().for_each(Folder::forget_versions);
        if self.up == Some(false) {
            // What is held cannot be read again: it stands or falls by what was kept of it.
            let held = self
                .folders
                .iter_mut()
                .flat_map(Folder::surrender)
                .chain(std::mem::take(&mut self.provisional));
            held.collect::<Vec<_>>().iter().for_each(|held| self.intake.release(held));
            self.fall_back();
        }
    }

    /// Waits for the first wake and takes the others that are there already.
    fn wait(&self, woken: &Receiver<Wake>, at_most: Duration) -> Due {
        let mut due = Due::default();
        match woken.recv_timeout(at_most) {
            Ok(wake) => self.note(wake, &mut due),
            // The next rescan is due, and sees to it itself.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => due.stop = true,
        }
        while due.files.len() < LARGEST_BATCH && !due.stop {
            let Ok(wake) = woken.try_recv() else { break };
            self.note(wake, &mut due);
        }
        due.everything |= self.watch.overflowed();
        due
    }

    fn note(&self, wake: Wake, due: &mut Due) {
        match wake {
            Wake::Touched { path, at } => {
                due.noticed.get_or_insert(at);
                match self.file(&path) {
                    Some(file) => drop(due.files.insert(file)),
                    // The directory, a folder, or a link that leads to one: anything may be different now.
                    None => due.everything |= self.concerns_all(&path),
                }
            }
            Wake::Rescan => due.everything = true,
            Wake::Reload(reload) => {
                (due.reload, due.everything) = (Some(reload), true);
            }
            Wake::Stop => due.stop = true,
        }
    }

    fn file(&self, path: &Path) -> Option<(Kind, String)> {
        let folder = self.folders.iter().find(|folder| path.parent() == Some(&folder.path))?;
        Some((folder.kind, folder.kind.name(path.file_name()?)?.to_owned()))
    }

    /// Whether a path that is no file of ours has to do with all of them: `..data` and its like, the folders, the
    /// directory. What others keep beside them has not, nor have the temporary names of careful writers.
    fn concerns_all(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let inside = self.folders.iter().any(|folder| path.parent() == Some(&folder.path));
        let leads_to_one = self.folders.iter().any(|folder| folder.path.starts_with(path));
        leads_to_one || name.starts_with("..") || (!inside && path.is_symlink())
    }

    fn look_at_everything(&mut self, thorough: bool) -> BTreeSet<(Kind, String)> {
        let mut files = BTreeSet::new();
        let mut fault = None;
        for folder in &mut self.folders {
            match folder.changed(thorough) {
                Ok(changed) => files.extend(changed.into_iter().map(|name| (folder.kind, name))),
                // A missing folder takes nothing back: revocations and CRLs stay known, manifests need theirs.
                Err(missing)
                    if folder.kind != Kind::Manifest && missing.kind() == io::ErrorKind::NotFound => {}
                Err(other) => fault = Some((folder.path.clone(), other)),
            }
            files.extend(folder.not_yet().map(|name| (folder.kind, name.clone())));
        }
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
        let Some(folder) = self.folders.iter_mut().find(|folder| folder.kind == kind) else { return };
        let path = folder.path.join(name);
        let before = folder.seen(name).map(|seen| seen.standing.clone());
        let seen = match files::read(&path, kind.largest()) {
            Ok((bytes, version)) => {
                let known = folder.seen(name).and_then(|seen| seen.version);
                if known == Some(version) && before != Some(Standing::NotYet) {
                    return;
                }
                let origin = format!("{}/{name}", kind.folder());
                let standing = self.offer(kind, name, &origin, &bytes, before.as_ref());
                Some(Seen { version: Some(version), standing })
            }
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
            Err(fault) => {
                if before != Some(Standing::Refused) {
                    self.intake.unreadable(kind, &format!("{}/{name}", kind.folder()), &fault);
                }
                Some(Seen { version: None, standing: Standing::Refused })
            }
        };
        if let Some(Standing::Held(held)) = before {
            self.intake.release(&held);
        }
        let Some(folder) = self.folders.iter_mut().find(|folder| folder.kind == kind) else { return };
        folder.note(name, seen);
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
        let Some(folder) = self.folders.iter().find(|folder| folder.kind == Kind::Crl) else { return };
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
        for folder in &self.folders {
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
