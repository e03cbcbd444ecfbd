//! What the system reports about the policy directory, turned into wakes for its thread.
//!
//! Watched are the directory, its three folders and, when the directory is a symbolic link that a deployment swaps, the
//! directory in which the link stands. Reports are a hint only: whatever is lost here is found by the next rescan.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, MetadataKind, ModifyKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::snapshot::PolicyBounds;
use crate::source::intake::{Authorities, Kind};

/// Why the thread wakes up.
pub(crate) enum Wake {
    /// Something happened to this path.
    Touched { path: PathBuf, at: Instant },
    /// Everything has to be looked at.
    Rescan,
    /// Other keys and bounds are in force.
    Reload(Box<(Authorities, PolicyBounds)>),
    /// The source is being dropped.
    Stop,
}

pub(crate) struct Watch {
    directory: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// What is watched, by device and inode: a path that leads elsewhere now has to be watched anew.
    watched: HashMap<PathBuf, (u64, u64)>,
    overflowed: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn new(directory: &Path, wakes: SyncSender<Wake>) -> Self {
        let overflowed = Arc::new(AtomicBool::new(false));
        let overflow = overflowed.clone();
        let report = move |event: notify::Result<Event>| {
            for wake in wakes_of(event) {
                if wakes.try_send(wake).is_err() {
                    overflow.store(true, Ordering::Release);
                }
            }
        };
        let watcher = RecommendedWatcher::new(report, Config::default().with_follow_symlinks(true));
        let watcher = watcher
            .inspect_err(|fault| tracing::warn!(%fault, "the policy directory is not watched; it is rescanned instead"))
            .ok();
        Self { directory: directory.to_owned(), watcher, watched: HashMap::new(), overflowed }
    }

    /// Watches what is there now, in place of what was there before.
    pub(crate) fn refresh(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in places(&self.directory) {
            let identity = fs::metadata(&path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
            if self.watched.get(&path).copied() == identity {
                continue;
            }
            if self.watched.remove(&path).is_some() {
                // What is gone is no longer watched anyway.
                drop(watcher.unwatch(&path));
            }
            let Some(identity) = identity else { continue };
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(path, identity)),
                Err(fault) => {
                    tracing::warn!(%fault, path = %path.display(), "not watched; it is rescanned instead")
                }
            }
        }
    }

    /// Whether anything is reported at all.
    pub(crate) fn works(&self) -> bool {
        self.watcher.is_some() && !self.watched.is_empty()
    }

    /// Whether reports were lost since the last call.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }
}

fn places(directory: &Path) -> Vec<PathBuf> {
    let mut places = vec![directory.to_owned()];
    places.extend(Kind::ALL.map(|kind| directory.join(kind.folder())));
    // Links inside the directory, as well as the directory itself, can be swapped; the latter is seen from its parent only.
    if fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_symlink()) {
        places.extend(directory.parent().map(Path::to_owned));
    }
    places
}

fn wakes_of(event: notify::Result<Event>) -> Vec<Wake> {
    let Ok(event) = event else { return vec![Wake::Rescan] };
    if event.need_rescan() {
        return vec![Wake::Rescan];
    }
    let at = Instant::now();
    let telling = |path: &PathBuf| match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(MetadataKind::Any))
        | EventKind::Remove(_) => true,
        // A file that is being written is told of when it is closed; a link is complete at once.
        EventKind::Create(CreateKind::File) => is_complete(path),
        EventKind::Create(_) => true,
        _ => false,
    };
    event
        .paths
        .iter()
        .filter(|path| telling(path))
        .map(|path| Wake::Touched { path: path.clone(), at })
        .collect()
}

fn is_complete(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}
