//! Files that grow by a line at a time, and a lock beside them.
//!
//! Never continues a line that a crash tore, and never reads one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

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
