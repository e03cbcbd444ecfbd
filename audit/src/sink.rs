//! Where lines go: a file, standard output, or memory for tests and for the quick start.
//!
//! A file is only ever appended to. When its last line is incomplete (the program or the machine died while it was
//! written) it is terminated on opening, so the next record begins on a line of its own. Nothing is ever cut away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where a recorder writes.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Appends to this file, created with mode 0640 when it is missing.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Keeps every line in memory, without a bound: for tests.
    Memory(MemoryLog),
}

/// An opened sink.
pub(crate) trait Outlet: Send {
    /// Writes some of `bytes` and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Forces what was written onto the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Opens the place anew, after a rotation. Says how long an incomplete last line was that it terminated.
    fn reopen(&mut self) -> io::Result<u64>;
}

impl Sink {
    /// Opens the sink; with it comes the length of the incomplete last line that was terminated, 0 when there was none.
    pub(crate) fn open(self) -> io::Result<(Box<dyn Outlet>, u64)> {
        match self {
            Self::File(path) => {
                let (file, torn) = open_file(&path)?;
                Ok((Box::new(FileOutlet { path, file }), torn))
            }
            Self::Stdout => Ok((Box::new(StdoutOutlet), 0)),
            Self::Memory(log) => Ok((Box::new(log), 0)),
        }
    }
}

struct FileOutlet {
    path: PathBuf,
    file: File,
}

impl Outlet for FileOutlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // Pipes and terminals have nothing to sync.
            Err(fault) if fault.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn reopen(&mut self) -> io::Result<u64> {
        let (file, torn) = open_file(&self.path)?;
        self.file = file;
        Ok(torn)
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    let mut file = options.open(path)?;
    let torn = match File::open(path) {
        Ok(reader) if reader.metadata()?.is_file() => incomplete_tail(reader)?,
        _ => 0,
    };
    if torn > 0 {
        file.write_all(b"\n")?;
    }
    Ok((file, torn))
}

/// The number of bytes after the last line break.
fn incomplete_tail(mut file: File) -> io::Result<u64> {
    const STEP: u64 = 4096;
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        let mut piece = Vec::new();
        (&file).take(end - start).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(length - start - u64::try_from(at).unwrap_or(0) - 1);
        }
        end = start;
    }
    Ok(length)
}

struct StdoutOutlet;

impl Outlet for StdoutOutlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}

/// Lines kept in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    shared: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every complete line so far, as the JSON object it is. A line that is none becomes `null`.
    #[must_use]
    pub fn events(&self) -> Vec<serde_json::Value> {
        parse(&self.shared.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the events satisfy `done`; false when `bound` passes first.
    pub fn wait_until(&self, bound: Duration, done: impl Fn(&[serde_json::Value]) -> bool) -> bool {
        let deadline = Instant::now() + bound;
        let (bytes, written) = &*self.shared;
        let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if done(&parse(&bytes)) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            bytes = written.wait_timeout(bytes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn parse(bytes: &[u8]) -> Vec<serde_json::Value> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .map(|line| serde_json::from_slice(line).unwrap_or_default())
        .collect()
}

impl Outlet for MemoryLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        self.shared.1.notify_all();
        Ok(bytes.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incomplete_tail_is_what_follows_the_last_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        for (content, expected) in [
            (String::new(), 0),
            ("a\n".into(), 0),
            ("a\nbc".into(), 2),
            ("abc".into(), 3),
            (format!("a\n{}", "x".repeat(10_000)), 10_000),
        ] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(incomplete_tail(File::open(&path).unwrap()).unwrap(), expected);
            let (_, torn) = open_file(&path).unwrap();
            assert_eq!(torn, expected);
            let after = std::fs::read_to_string(&path).unwrap();
            assert!(after.starts_with(&content) && (after.is_empty() || after.ends_with('\n')));
        }
    }
}
