//! What the gateway must not forget although its source does: a file that is only appended to.
//!
//! Every revocation and lifting ever seen, the high-water marks of manifests, and a revision that no snapshot has reached
//! yet. One JSON object a line, synced before it counts as kept. A last line that a crash tore is cut off; anything
//! else out of order stops the gateway from starting, for a journal with a hole would forget a revocation.

mod entry;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::files;

pub(crate) use entry::Entry;

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

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
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&path).map_err(fault)?;
        let (length, entries) = read(&path, &file, &mut each)?;
        // What follows the last line end was never reported as kept.
        file.set_len(length).map_err(fault)?;
        Ok(Self { path, file, length, pending: Vec::new(), entries, _lock: lock })
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
        let written = self.file.write_all(&self.pending).and_then(|()| self.file.sync_data());
        if let Err(fault) = written {
            // Half a line must not stay in front of the next attempt.
            self.file.set_len(self.length)?;
            return Err(fault);
        }
        self.length += u64::try_from(self.pending.len()).unwrap_or(0);
        self.pending.clear();
        Ok(())
    }

    /// Whether some entries have not reached the disk yet.
    pub(crate) fn behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many lines the file has.
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
        files::replace(&self.path, &lines, 0o600, true)?;
        self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        self.length = u64::try_from(lines.len()).unwrap_or(0);
        (self.entries, self.pending) = (count, Vec::new());
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
fn read(path: &Path, file: &File, each: &mut impl FnMut(Entry)) -> Result<(u64, usize), JournalFault> {
    let name = || path.display().to_string();
    let mut reader = BufReader::with_capacity(1 << 18, file);
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
