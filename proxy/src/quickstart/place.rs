//! Where does the demo keep its files? A directory that is its own, made anew each time.
//!
//! A directory that something else has made is never touched, and of a directory of its own only what it has made itself
//! is removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cli::Failure;

/// The file whose presence says that the directory is a demo's. Locked while the demo runs.
const MARK: &str = ".portcullis-quickstart";

/// Everything the demo makes, in its directory.
const MADE: &[&str] = &[
    "ca",
    "origin-ca",
    "policy",
    "state",
    "gateway.pem",
    "gateway.key",
    "device.pem",
    "device.key",
    "author.key",
    "revoker.key",
    "approver.key",
    "control.key",
    "control.pem",
    "control-tls.key",
    "control.toml",
    "control-state",
    "control-events.jsonl",
    "tokens.toml",
    "token",
    "keys.toml",
    "manifest.yaml",
    "gateway.toml",
    "curl.conf",
    "events.jsonl",
];

/// The demo's directory, held until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    _mark: File,
}

impl Place {
    /// Takes `directory`, empty but for the mark.
    ///
    /// # Errors
    /// When it belongs to something else, when a demo is running in it, or when it cannot be written.
    pub(super) fn take(directory: &Path) -> Result<Self, Failure> {
        let failed = |fault: io::Error| Failure::new(format_args!("{}: {fault}", directory.display()));
        if is_foreign(directory).map_err(failed)? {
            return Err(Failure::new(format_args!(
                "{} is not empty and no quickstart has made it",
                directory.display()
            ))
            .help("name another directory with --dir"));
        }
        fs::create_dir_all(directory).map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        let mark = File::options().create(true).append(true).open(directory.join(MARK)).map_err(failed)?;
        if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::new(format_args!(
                "a quickstart is already running in {}",
                directory.display()
            ))
            .help("stop it, or name another directory with --dir"));
        }
        for made in MADE {
            remove(&directory.join(made)).map_err(failed)?;
        }
        Ok(Self { directory, _mark: mark })
    }

    /// The path of one of the demo's files.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        debug_assert!(
            MADE.iter().any(|made| name.split('/').next() == Some(made)),
            "{name} would stay behind"
        );
        self.directory.join(name)
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn is_foreign(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_some() && !directory.join(MARK).exists()),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(fault) => Err(fault),
    };
    match removed {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let first = Place::take(directory.path()).unwrap();
        fs::write(first.path("gateway.toml"), "old").unwrap();
        fs::create_dir_all(first.path("policy/manifests")).unwrap();
        drop(first);
        let second = Place::take(directory.path()).unwrap();
        assert!(!second.path("gateway.toml").exists() && !second.path("policy").exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("gateway.toml"), "precious").unwrap();
        assert!(Place::take(directory.path()).is_err());
        assert_eq!(fs::read_to_string(directory.path().join("gateway.toml")).unwrap(), "precious");
    }

    #[test]
    fn files_beside_its_own_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        drop(Place::take(directory.path()).unwrap());
        fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        drop(Place::take(directory.path()).unwrap());
        assert!(directory.path().join("notes.txt").exists());
    }

    #[test]
    fn two_demos_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let _running = Place::take(directory.path()).unwrap();
        assert!(Place::take(directory.path()).is_err());
    }
}
