//! How does a file reach the disk? Whole or not at all.
//!
//! Everything that is written here may be read by everybody; keys are written by those who make them.

use std::io::{self, Write as _};
use std::path::Path;

use super::exit::{During as _, Failure};

/// Writes `bytes` to `path` by way of a temporary file beside it, so that a reader sees the old file or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    prepare(path, bytes)
        .and_then(|file| file.persist(path).map_err(|fault| fault.error))
        .during(path.display())
        .map(drop)
}

/// As [`replace`], but never in the place of another file.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let persisted =
        prepare(path, bytes).and_then(|file| file.persist_noclobber(path).map_err(|fault| fault.error));
    match persisted {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::new(format_args!("{} exists already", path.display()))
                .help("name another file, or move this one away first"))
        }
        done => done.during(path.display()).map(drop),
    }
}

fn prepare(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".portcullis-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_is_replaced_only_on_purpose() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        create(&path, b"one").unwrap();
        assert!(create(&path, b"two").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "a temporary file was left behind"
        );
    }
}
