//! Files that are read with a bound, and one version of them told from another.
//!
//! Relies on a POSIX file system. It never waits for a pipe, and never reads more than it is asked for.

pub(crate) mod reserve;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

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
