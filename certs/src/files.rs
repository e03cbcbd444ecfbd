//! Files that survive a crash: written whole or not at all, private where they must be.
//!
//! Relies on a POSIX file system (rename is atomic, a directory can be synced). Never follows up a failed write
//! with a half-written file under the final name, and never widens the mode of a private file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// Mode 0600: keys.
    Private,
    /// Mode 0644: certificates, CRLs.
    Public,
}

impl Privacy {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Writes `bytes` under a temporary name, syncs, renames, and syncs the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8], privacy: Privacy) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_new(&temporary, bytes, privacy).and_then(|()| fs::rename(&temporary, path));
    if let Err(fault) = written {
        // Best effort: the temporary name holds nothing that anybody reads.
        drop(fs::remove_file(&temporary));
        return Err(fault);
    }
    sync_directory(path)
}

/// Appends one line and syncs it. A line torn by an earlier crash was never reported as written: it is cut off.
pub(crate) fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    cut_torn_line(&mut file)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

/// The complete lines of a file; a missing file has none, and a torn last line does not count.
pub(crate) fn lines(path: &Path) -> io::Result<Vec<String>> {
    let text = match fs::read_to_string(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
    Ok(whole.lines().map(str::to_owned).collect())
}

/// Holds an exclusive lock on `path` until the returned file is dropped.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn write_new(path: &Path, bytes: &[u8], privacy: Privacy) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(privacy.mode()).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name in the same directory that no other process and no other call uses.
fn beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{number}.new", std::process::id()));
    path.with_file_name(name)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(());
    }
    let mut last = [0_u8; 1];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    let mut whole = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut whole)?;
    let keep = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    file.set_len(u64::try_from(keep).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_keeps_its_mode_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for round in [b"one".as_slice(), b"two"] {
            replace(&path, round, Privacy::Private).unwrap();
            assert_eq!(fs::read(&path).unwrap(), round);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_is_neither_read_nor_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        assert!(lines(&path).unwrap().is_empty());
        append_line(&path, "one").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"tw").unwrap();
        assert_eq!(lines(&path).unwrap(), ["one"]);
        append_line(&path, "three").unwrap();
        assert_eq!(lines(&path).unwrap(), ["one", "three"]);
    }
}
