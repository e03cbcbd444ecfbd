//! What the gateway must not forget although its source does: a file that is only appended to.
//!
//! Every revocation and lifting ever seen, the high-water marks of manifests, and a revision that no snapshot has reached
//! yet. One JSON object a line, synced before it counts as kept. A last line that a crash tore is cut off; anything
//! else out of order stops the gateway from starting, for a journal with a hole would forget a revocation.
//!
//! When most of its lines are outdated it is made short while it goes on (`compaction`).

mod compaction;
mod entry;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use config::files::{Reach, Readers, replace, sync_directory_of};

use compaction::{Compaction, Shorter};

pub(crate) use compaction::{Gist, entries};
pub(crate) use entry::Entry;

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// A journal with more lines than this beside twice what is needed is made short.
const SLACK: usize = 1000;

/// An opened journal, locked against other processes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// The length up to which the file is known to be in order.
    length: u64,
    /// Lines that could not be written yet.
    pending: Vec<u8>,
    entries: usize,
    /// How many of the lines were needed when that was last known.
    needed: usize,
    compaction: Option<Compaction>,
    /// Whether the file would be found under its name after a crash of the machine.
    name_is_kept: bool,
    _lock: File,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalFault {
    /// A file cannot be read or written.
    #[error("cannot use {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("{file} is in use by another process")]
    InUse {
        /// The lock file.
        file: String,
    },
    /// A line that is no entry.
    #[error("{file}:{line}: the line is damaged; restore the file, for it remembers what was revoked")]
    Damaged {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
}

impl Journal {
    /// Opens the journal of a directory, which is made when it is missing, and hands every entry to `each` in order.
    pub(crate) fn open(directory: &Path, mut each: impl FnMut(Entry)) -> Result<Self, JournalFault> {
        let path = directory.join("journal.jsonl");
        let fault = |source| JournalFault::File { file: path.display().to_string(), source };
        fs::create_dir_all(directory).map_err(fault)?;
        let lock = lock(&directory.join("lock"))?;
        // What a crash left of a compaction; nobody reads it.
        drop(fs::remove_file(compaction::beside(&path)));
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(fault)?;
        let lines = BufReader::with_capacity(1 << 18, &file);
        let (length, entries) = each_line(&path, lines, &mut each)?;
        // What follows the last line end was never reported as kept.
        file.set_len(length).map_err(fault)?;
        Ok(Self {
            path,
            file,
            length,
            pending: Vec::new(),
            entries,
            needed: entries,
            compaction: None,
            name_is_kept: true,
            _lock: lock,
        })
    }

    /// Appends the entries and syncs. When that fails they stay pending and are tried again with the next ones.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        for entry in entries {
            entry.append_to(&mut self.pending)?;
            self.entries += 1;
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        self.keep_name()?;
        let written = self.file.write_all(&self.pending).and_then(|()| self.file.sync_data());
        if let Err(fault) = written {
            // Half a line must not stay in front of the next attempt.
            self.file.set_len(self.length)?;
            return Err(fault);
        }
        self.length += u64::try_from(self.pending.len()).unwrap_or(0);
        self.pending.clear();
        self.compact();
        Ok(())
    }

    /// Begins a compaction when most lines are outdated, and puts it in force when it is done. When that fails the journal
    /// goes on as it is.
    fn compact(&mut self) {
        let outcome = match self.compaction.take() {
            Some(done) if done.is_done() => self.put(done),
            Some(under_way) => {
                self.compaction = Some(under_way);
                return;
            }
            None if self.is_long() => Compaction::begin(&self.path, self.length).map(|begun| {
                // Until it is done, `needed` holds how many lines it covers: what comes behind them is copied.
                self.needed = self.entries;
                self.compaction = Some(begun);
            }),
            None => return,
        };
        if let Err(fault) = outcome {
            tracing::warn!(%fault, path = %self.path.display(), "the policy journal could not be made short");
            self.needed = self.entries;
        }
    }

    fn put(&mut self, done: Compaction) -> io::Result<()> {
        let Shorter { file, count, length } = done.finish(&self.path, self.length)?;
        let copied = self.entries.saturating_sub(self.needed);
        (self.file, self.length) = (file, length);
        (self.entries, self.needed) = (count + copied, count);
        // A crash could bring back the old file, without what is appended from now on.
        self.name_is_kept = false;
        self.keep_name()
    }

    fn keep_name(&mut self) -> io::Result<()> {
        if !self.name_is_kept {
            sync_directory_of(&self.path)?;
            self.name_is_kept = true;
        }
        Ok(())
    }

    /// Whether most of the lines are outdated.
    fn is_long(&self) -> bool {
        self.entries > self.needed.saturating_mul(2).saturating_add(SLACK)
    }

    /// Notes how many lines are needed; whether there are many more.
    pub(crate) fn is_long_for(&mut self, needed: usize) -> bool {
        self.needed = needed;
        self.is_long()
    }

    /// Whether some entries have not reached the disk yet.
    pub(crate) fn behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many lines the file has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Replaces the whole file by these entries, atomically.
    pub(crate) fn rewrite(&mut self, entries: impl IntoIterator<Item = Entry>) -> io::Result<()> {
        let (mut lines, mut count) = (Vec::new(), 0);
        for entry in entries {
            entry.append_to(&mut lines)?;
            count += 1;
        }
        replace(&self.path, &lines, Readers::Owner, Reach::Disk)?;
        self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        self.length = u64::try_from(lines.len()).unwrap_or(0);
        (self.entries, self.needed, self.pending) = (count, count, Vec::new());
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, JournalFault> {
    let name = || path.display().to_string();
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.map_err(|source| JournalFault::File { file: name(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(JournalFault::InUse { file: name() }),
        Err(fs::TryLockError::Error(source)) => Err(JournalFault::File { file: name(), source }),
    }
}

/// Reads every complete line; says how long they are together and how many.
fn each_line(
    path: &Path,
    mut reader: impl BufRead,
    each: &mut impl FnMut(Entry),
) -> Result<(u64, usize), JournalFault> {
    let name = || path.display().to_string();
    let (mut length, mut count, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        let read = read.map_err(|source| JournalFault::File { file: name(), source })?;
        if read == 0 || !line.ends_with(b"\n") {
            return Ok((length, count));
        }
        count += 1;
        let entry = Some(&line).filter(|line| line.len() <= LONGEST_LINE).and_then(|line| Entry::parse(line));
        each(entry.ok_or_else(|| JournalFault::Damaged { file: name(), line: count })?);
        length += u64::try_from(read).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
