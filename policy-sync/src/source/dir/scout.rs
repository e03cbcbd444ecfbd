//! What is in a policy directory, and what has changed in it since: for whoever makes policy of its files.
//!
//! Combines what the system reports with rescans, and remembers of each file what was made of it. It decides nothing about
//! what a file says.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::folder::{Folder, Seen};
use super::watch::{Wake, Watch};
use crate::files::{self, Version};
use crate::snapshot::PolicyBounds;
use crate::source::intake::{Authorities, Kind};

/// How many reports of the system may wait; more lead to a rescan.
const WAKES: usize = 4096;
/// How many files are looked at after one wait at most.
const LARGEST_BATCH: usize = 256;

/// Files, by what they are about: revocations come first.
pub(crate) type Files = BTreeSet<(Kind, String)>;

pub(crate) struct Scout {
    pub(crate) folders: [Folder; 3],
    watch: Watch,
    woken: Receiver<Wake>,
}

/// What has to be looked at.
#[derive(Default)]
pub(crate) struct Due {
    pub(crate) files: Files,
    pub(crate) everything: bool,
    pub(crate) noticed: Option<Instant>,
    pub(crate) reload: Option<Box<(Authorities, PolicyBounds)>>,
    pub(crate) stop: bool,
}

/// What a file is at the moment.
pub(crate) enum Reading {
    /// The version that was read before, and nothing has to be made of it again.
    Same,
    Gone,
    Unreadable(io::Error),
    Read(Vec<u8>, Version),
}

/// What a look at everything has found.
pub(crate) struct Found {
    pub(crate) files: Files,
    /// The folder that cannot be read, if there is one.
    pub(crate) fault: Option<(PathBuf, io::Error)>,
}

impl Scout {
    /// A scout of this directory, and the way to wake it up.
    pub(crate) fn new(directory: &Path) -> (Self, SyncSender<Wake>) {
        // The system reports absolute paths, and they have to be recognised as those of this directory. Pinned by
        // `a_directory_named_by_a_relative_path_is_watched_all_the_same`.
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let (wakes, woken) = sync_channel(WAKES);
        let watch = Watch::new(&directory, wakes.clone());
        let folders = Kind::ALL.map(|kind| Folder::new(&directory, kind));
        (Self { folders, watch, woken }, wakes)
    }

    /// Waits for the first wake and takes the others that are there already.
    pub(crate) fn wait(&self, at_most: Duration) -> Due {
        let mut due = Due::default();
        match self.woken.recv_timeout(at_most) {
            Ok(wake) => self.note_wake(wake, &mut due),
            // The next rescan is due, and whoever waits sees to it.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => due.stop = true,
        }
        while due.files.len() < LARGEST_BATCH && !due.stop {
            let Ok(wake) = self.woken.try_recv() else { break };
            self.note_wake(wake, &mut due);
        }
        due.everything |= self.watch.overflowed();
        due
    }

    fn note_wake(&self, wake: Wake, due: &mut Due) {
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

    /// Lists every folder. Unless `thorough`, or nothing is reported, a large one is left out now and then.
    pub(crate) fn look_at_everything(&mut self, thorough: bool) -> Found {
        self.watch.refresh();
        let thorough = thorough || !self.watch.works();
        let mut found = Found { files: Files::new(), fault: None };
        for folder in &mut self.folders {
            match folder.changed(thorough) {
                Ok(changed) => found.files.extend(changed.into_iter().map(|name| (folder.kind, name))),
                // A missing folder takes nothing back: revocations and CRLs stay known, manifests need theirs.
                Err(missing)
                    if folder.kind != Kind::Manifest && missing.kind() == io::ErrorKind::NotFound => {}
                Err(other) => found.fault = Some((folder.path.clone(), other)),
            }
            found.files.extend(folder.not_yet().map(|name| (folder.kind, name.clone())));
        }
        found
    }

    /// Reads a file, unless it is the version that was read before and nothing is owed to it.
    pub(crate) fn read(&self, kind: Kind, name: &str) -> Reading {
        let folder = self.folder(kind);
        match files::read(&folder.path.join(name), kind.largest()) {
            Ok((_, version)) if folder.seen(name).is_some_and(|seen| seen.settles(version)) => Reading::Same,
            Ok((bytes, version)) => Reading::Read(bytes, version),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Reading::Gone,
            Err(fault) => Reading::Unreadable(fault),
        }
    }

    /// Notes what was made of a file; nothing when it is gone.
    pub(crate) fn note(&mut self, kind: Kind, name: &str, seen: Option<Seen>) {
        if let Some(folder) = self.folders.iter_mut().find(|folder| folder.kind == kind) {
            folder.note(name, seen);
        }
    }

    pub(crate) fn folder(&self, kind: Kind) -> &Folder {
        let [revocations, crls, manifests] = &self.folders;
        match kind {
            Kind::Revocation => revocations,
            Kind::Crl => crls,
            Kind::Manifest => manifests,
        }
    }
}
