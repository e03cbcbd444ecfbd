//! How is a file written so that a crash leaves the old one or the new one, and nothing between?
//!
//! Relies on a POSIX file system: renaming replaces atomically, and a directory can be synced. It never leaves half a file
//! under the final name, and never makes the file of one owner readable for others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Everybody, as far as the process's mask allows: mode 0644.
    Everybody,
}

/// How far a file has come when writing it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is seen by whoever opens it.
    Processes,
    /// It survives a crash of the machine.
    Disk,
}

/// Writes `bytes` under a name that nobody reads, then renames it.
///
/// # Errors
/// When any of that fails; what was at `path` before is there still.
pub fn replace(path: &Path, bytes: &[u8], readers: Readers, reach: Reach) -> io::Result<()> {
    let temporary = beside(path);
    let written = write_new(&temporary, bytes, readers, reach).and_then(|()| fs::rename(&temporary, path));
    if let Err(fault) = written {
        // Best effort: nobody reads what is left under the temporary name.
        drop(fs::remove_file(&temporary));
        return Err(fault);
    }
    match reach {
        Reach::Processes => Ok(()),
        Reach::Disk => sync_directory_of(path),
    }
}

/// Has the name of a file survive a crash of the machine.
///
/// # Errors
/// When its directory cannot be synced.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], readers: Readers, reach: Reach) -> io::Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    match reach {
        Reach::Processes => Ok(()),
        Reach::Disk => file.sync_all(),
    }
}

/// A hidden name in the same directory that no other process and no other call uses.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".new-{}-{number}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_mode_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (round, reach) in [(b"one".as_slice(), Reach::Disk), (b"two", Reach::Processes)] {
            replace(&path, round, Readers::Owner, reach).unwrap();
            assert_eq!(fs::read(&path).unwrap(), round);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        assert!(replace(&path, b"new", Readers::Everybody, Reach::Disk).is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
