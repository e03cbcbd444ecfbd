//! Files that are written whole or not at all, and read with a bound.
//!
//! Relies on a POSIX file system: renaming replaces atomically, and a directory can be synced.

pub(crate) mod reserve;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file under a name that nobody reads, then renames it. With `durable` it has reached the disk on return.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_new(&temporary, bytes, mode, durable).and_then(|()| fs::rename(&temporary, path));
    if let Err(fault) = written {
        // Best effort: nobody reads what is left under the temporary name.
        drop(fs::remove_file(&temporary));
        return Err(fault);
    }
    if durable { sync_directory_of(path) } else { Ok(()) }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    if durable { file.sync_all() } else { Ok(()) }
}

/// A hidden name in the same directory that no other call uses.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".new-{}-{number}", std::process::id()))
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a regular file of at most `limit` bytes, with the version that was read. Never waits for a pipe.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<(Vec<u8>, Version)> {
    reserve::lend(|| read_now(path, limit))
}

fn read_now(path: &Path, limit: usize) -> io::Result<(Vec<u8>, Version)> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::other(format!("over {limit} bytes")));
    }
    Ok((bytes, Version::of(&metadata)))
}
