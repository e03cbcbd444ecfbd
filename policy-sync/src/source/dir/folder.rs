//! One folder of the policy directory: what was seen in it, and what has changed since.
//!
//! Files are told apart by version, without reading them. It decides nothing about what a file says.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{Version, reserve};
use crate::source::intake::{Held, Kind};

/// Folders with more files than this are not listed at every rescan: listing takes longer than a revocation may wait.
const LARGE: usize = 4096;
/// How many rescans of a large folder are left out between two that are not.
const LEFT_OUT: u32 = 30;

pub(crate) struct Folder {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    files: HashMap<String, Seen>,
    /// The files that are not in order at the moment.
    refused: BTreeSet<String>,
    /// The files whose time has to come.
    not_yet: BTreeSet<String>,
    left_out: u32,
}

/// What is known of a file.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The version that was read; none when it has to be read again in any case.
    pub(crate) version: Option<Version>,
    pub(crate) standing: Standing,
}

impl Seen {
    /// Whether nothing has to be made of a file of this version any more.
    pub(crate) fn settles(&self, version: Version) -> bool {
        self.version == Some(version) && self.standing != Standing::NotYet
    }
}

/// What a file amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A manifest that is held.
    Held(Held),
    /// A statement or CRL that was taken over.
    Taken,
    /// Not in order.
    Refused,
    /// In order, but not yet: its time has to come.
    NotYet,
}

impl Folder {
    pub(crate) fn new(directory: &Path, kind: Kind) -> Self {
        let path = directory.join(kind.folder());
        Self {
            kind,
            path,
            files: HashMap::new(),
            refused: BTreeSet::new(),
            not_yet: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// The files that are there now.
    fn present(&self) -> io::Result<HashMap<String, Option<Version>>> {
        let mut present = HashMap::with_capacity(self.files.len());
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = self.kind.name(&entry.file_name()) {
                let metadata = fs::metadata(entry.path());
                present.insert(name.to_owned(), metadata.ok().map(|metadata| Version::of(&metadata)));
            }
        }
        Ok(present)
    }

    /// The names of files that are new, gone, or not the version that was read. Unless `thorough`, a large folder is
    /// looked at only now and then.
    pub(crate) fn changed(&mut self, thorough: bool) -> io::Result<Vec<String>> {
        if !thorough && self.files.len() > LARGE && self.left_out < LEFT_OUT {
            self.left_out += 1;
            // Whether it can still be read is asked every time.
            return fs::metadata(&self.path).map(|_| Vec::new());
        }
        let present = reserve::lend(|| self.present())?;
        self.left_out = 0;
        let gone = self.files.keys().filter(|name| !present.contains_key(*name)).cloned();
        let mut changed: Vec<_> = gone.collect();
        let known = |name: &String| self.files.get(name).and_then(|seen| seen.version);
        changed.extend(
            present
                .into_iter()
                .filter(|(name, version)| known(name) != *version || version.is_none())
                .map(|(name, _)| name),
        );
        Ok(changed)
    }

    /// Has every file read again at the next rescan.
    pub(crate) fn forget_versions(&mut self) {
        self.files.values_mut().for_each(|seen| seen.version = None);
    }

    /// Has every file that is not in order read again.
    pub(crate) fn forget_refused(&mut self) {
        for name in &self.refused {
            if let Some(seen) = self.files.get_mut(name) {
                seen.version = None;
            }
        }
    }

    /// What is known of a file.
    pub(crate) fn seen(&self, name: &str) -> Option<&Seen> {
        self.files.get(name)
    }

    /// Notes what a file amounts to now; nothing when it is gone.
    pub(crate) fn note(&mut self, name: &str, seen: Option<Seen>) {
        self.refused.remove(name);
        self.not_yet.remove(name);
        let Some(seen) = seen else {
            self.files.remove(name);
            return;
        };
        match seen.standing {
            Standing::Refused => drop(self.refused.insert(name.to_owned())),
            Standing::NotYet => drop(self.not_yet.insert(name.to_owned())),
            Standing::Held(_) | Standing::Taken => {}
        }
        self.files.insert(name.to_owned(), seen);
    }

    /// The names of all files that count.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }

    /// Whether one of the files holds the manifest of this payload.
    pub(crate) fn holds(&self, digest: &[u8; 32]) -> bool {
        self.held().any(|held| held.digest == *digest)
    }

    /// The manifests that are held, which are forgotten by this.
    pub(crate) fn surrender(&mut self) -> Vec<Held> {
        let files = std::mem::take(&mut self.files).into_values();
        files
            .filter_map(|seen| if let Standing::Held(held) = seen.standing { Some(held) } else { None })
            .collect()
    }

    /// The manifests that are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.files
            .values()
            .filter_map(|seen| if let Standing::Held(held) = &seen.standing { Some(held) } else { None })
    }

    /// Whether this file is not in order at the moment.
    pub(crate) fn is_refused(&self, name: &str) -> bool {
        self.refused.contains(name)
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    pub(crate) fn not_yet(&self) -> impl Iterator<Item = &String> {
        self.not_yet.iter()
    }
}
