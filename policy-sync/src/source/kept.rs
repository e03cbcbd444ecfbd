//! The last good policy on disk: what the gateway starts from when its source is away.
//!
//! Envelopes are kept as they were received and verified again when they are read, so these files need no trust. Beside them
//! stands when the source was last heard of, for the policy is as stale as it is. Whoever follows a log also keeps here
//! what the log holds but this gateway's key ring does not admit (`parked`), and the chunks of a snapshot that is on its
//! way (`chunks`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certs::Document;
use config::files::{Reach, Readers, replace};
use jiff::Timestamp;

use crate::envelope::LARGEST_ENVELOPE;
use crate::files;
use crate::target::{from_hex, to_hex};

/// How often the moment of freshness is written down.
const FRESH_EVERY: Duration = Duration::from_secs(5);
/// The largest CRL that is kept, in bytes.
const LARGEST_CRL: usize = 256 << 20;
/// The largest chunk of a snapshot, in bytes.
const LARGEST_CHUNK: usize = 16 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Kept {
    directory: PathBuf,
    fresh_written: Option<Instant>,
}

impl Kept {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        for part in ["manifests", "crls", "parked", "chunks"] {
            fs::create_dir_all(directory.join(part))?;
        }
        Ok(Self { directory: directory.to_owned(), fresh_written: None })
    }

    /// Keeps the envelope of a live manifest.
    pub(crate) fn keep_manifest(&self, digest: &[u8; 32], envelope: &[u8], reach: Reach) -> io::Result<()> {
        let path = self.manifest(digest);
        if path.exists() { Ok(()) } else { replace(&path, envelope, Readers::Owner, reach) }
    }

    /// Drops the envelope of a manifest that is no longer live.
    pub(crate) fn drop_manifest(&self, digest: &[u8; 32]) -> io::Result<()> {
        remove(&self.manifest(digest))
    }

    /// Drops every envelope except these.
    pub(crate) fn retain(&self, live: impl Fn(&str) -> bool) -> io::Result<()> {
        for (name, path) in self.list("manifests")? {
            if !live(name.trim_end_matches(".json")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Every envelope that is kept, with the name of its file.
    pub(crate) fn manifests(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let files = self.list("manifests")?.into_iter();
        Ok(files
            .filter_map(|(name, path)| Some((name, files::read(&path, LARGEST_ENVELOPE).ok()?.0)))
            .collect())
    }

    /// The digests of every envelope that is kept.
    pub(crate) fn manifest_digests(&self) -> io::Result<Vec<[u8; 32]>> {
        let files = self.list("manifests")?.into_iter();
        Ok(files.filter_map(|(name, _)| from_hex(name.trim_end_matches(".json"))?.try_into().ok()).collect())
    }

    /// Keeps a CRL. One that is visibly not whole does not take the place of the one before it.
    pub(crate) fn keep_crl(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join("crls").join(name);
        let same = || files::read(&path, LARGEST_CRL).is_ok_and(|(kept, _)| kept == bytes);
        if is_whole(bytes) && !same() { replace(&path, bytes, Readers::Owner, Reach::Disk) } else { Ok(()) }
    }

    /// Every CRL that is kept.
    pub(crate) fn crls(&self) -> io::Result<Vec<Document>> {
        let files = self.list("crls")?.into_iter();
        let read = |(name, path): (String, PathBuf)| {
            Some(Document::new(format!("kept:{name}"), files::read(&path, LARGEST_CRL).ok()?.0))
        };
        Ok(files.filter_map(read).collect())
    }

    /// Keeps an envelope that is not admitted for now.
    pub(crate) fn park(&self, digest: &[u8; 32], envelope: &[u8]) -> io::Result<()> {
        replace(&self.parked_file(digest), envelope, Readers::Owner, Reach::Disk)
    }

    /// Drops an envelope that was parked.
    pub(crate) fn unpark(&self, digest: &[u8; 32]) -> io::Result<()> {
        remove(&self.parked_file(digest))
    }

    /// The digests of every envelope that is parked.
    pub(crate) fn parked(&self) -> io::Result<Vec<[u8; 32]>> {
        let files = self.list("parked")?.into_iter();
        Ok(files.filter_map(|(name, _)| from_hex(name.trim_end_matches(".json"))?.try_into().ok()).collect())
    }

    /// The envelope of this digest, kept or parked.
    pub(crate) fn envelope(&self, digest: &[u8; 32]) -> io::Result<Vec<u8>> {
        let kept = files::read(&self.manifest(digest), LARGEST_ENVELOPE);
        kept.or_else(|_| files::read(&self.parked_file(digest), LARGEST_ENVELOPE)).map(|(bytes, _)| bytes)
    }

    /// Keeps a chunk of a snapshot.
    pub(crate) fn keep_chunk(&self, digest: &[u8; 32], chunk: &[u8]) -> io::Result<()> {
        replace(&self.chunk_file(digest), chunk, Readers::Owner, Reach::Processes)
    }

    /// A chunk of a snapshot, if it is kept. Whoever reads it compares its digest.
    pub(crate) fn chunk(&self, digest: &[u8; 32]) -> Option<Vec<u8>> {
        files::read(&self.chunk_file(digest), LARGEST_CHUNK).ok().map(|(bytes, _)| bytes)
    }

    /// Drops every chunk.
    pub(crate) fn drop_chunks(&self) -> io::Result<()> {
        self.list("chunks")?.iter().try_for_each(|(_, path)| remove(path))
    }

    /// Has everything that was written so far reach the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.directory)?)?)
    }

    /// Has what was dropped so far stay away.
    pub(crate) fn sync_dropped(&self) -> io::Result<()> {
        ["manifests", "parked"].iter().try_for_each(|part| File::open(self.directory.join(part))?.sync_all())
    }

    /// Notes that the source was heard of at this moment; written down every few seconds.
    pub(crate) fn stamp_fresh(&mut self, at: Timestamp) -> io::Result<()> {
        if self.fresh_written.is_some_and(|at| at.elapsed() < FRESH_EVERY) {
            return Ok(());
        }
        self.fresh_written = Some(Instant::now());
        let path = self.directory.join("fresh");
        replace(&path, at.to_string().as_bytes(), Readers::Owner, Reach::Processes)
    }

    /// When the source was last heard of, as far as was written down.
    pub(crate) fn fresh(&self) -> Option<Timestamp> {
        let (text, _) = files::read(&self.directory.join("fresh"), 64).ok()?;
        std::str::from_utf8(&text).ok()?.parse().ok()
    }

    /// How long ago that was at `now`. A moment in the future counts as never.
    pub(crate) fn age(&self, now: Timestamp) -> Option<Duration> {
        now.duration_since(self.fresh()?).try_into().ok()
    }

    fn parked_file(&self, digest: &[u8; 32]) -> PathBuf {
        self.directory.join("parked").join(format!("{}.json", to_hex(digest)))
    }

    fn chunk_file(&self, digest: &[u8; 32]) -> PathBuf {
        self.directory.join("chunks").join(to_hex(digest))
    }

    fn manifest(&self, digest: &[u8; 32]) -> PathBuf {
        self.directory.join("manifests").join(format!("{}.json", to_hex(digest)))
    }

    fn list(&self, part: &str) -> io::Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.directory.join(part))? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')) {
                files.push((name.to_owned(), entry.path()));
            }
        }
        Ok(files)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether the file has not been cut off: PEM with its end, or DER that is as long as it says.
fn is_whole(crl: &[u8]) -> bool {
    let contains = |text: &[u8]| crl.windows(text.len()).any(|window| window == text);
    match crl {
        [0x30, length @ 0..0x80, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, 0x80 | 0x85.., ..] => false,
        [0x30, count, rest @ ..] => {
            let Some((digits, rest)) = rest.split_at_checked(usize::from(count & 0x7f)) else { return false };
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)) == rest.len()
        }
        _ => contains(b"-----BEGIN X509 CRL-----") && contains(b"-----END X509 CRL-----"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crl_that_is_cut_off_is_not_whole() {
        let der = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let pem = b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n";
        for whole in [&der[..], &pem[..], &[0x30, 0x01, 0x00]] {
            assert!(is_whole(whole));
            assert!((0..whole.len() - 1).all(|length| !is_whole(&whole[..length])));
        }
    }

    #[test]
    fn a_damaged_crl_does_not_take_the_place_of_a_whole_one() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept::open(directory.path()).unwrap();
        kept.keep_crl("ca.crl", &[0x30, 0x01, 0x00]).unwrap();
        kept.keep_crl("ca.crl", &[0x30, 0x02, 0x00]).unwrap();
        assert_eq!(kept.crls().unwrap()[0].bytes, [0x30, 0x01, 0x00]);
    }

    #[test]
    fn a_moment_of_freshness_in_the_future_counts_as_never() {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(directory.path()).unwrap();
        let now = Timestamp::now();
        assert_eq!(kept.age(now), None);
        kept.stamp_fresh(now).unwrap();
        assert!(kept.age(now).unwrap() < Duration::from_secs(60));
        fs::write(directory.path().join("fresh"), "2999-01-01T00:00:00Z").unwrap();
        assert_eq!(kept.age(now), None);
    }
}
