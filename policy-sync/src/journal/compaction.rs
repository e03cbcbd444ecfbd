//! How is a journal made short while it goes on being written?
//!
//! A thread of its own reads the lines up to one place and writes what they come to into a file beside the journal. Whoever
//! appends looks now and then whether that is done, copies behind it what was appended meanwhile, and renames it into place.
//! Until the renaming the journal is whole as it was: a crash at any moment leaves the one or the other. Nothing waits for it
//! but the copying of those last lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::{Entry, each_line};
use crate::assembly::Assembly;
use crate::log::Position;
use crate::snapshot::PolicyBounds;

/// What the lines of a journal come to.
#[derive(Debug)]
pub(crate) struct Gist {
    pub(crate) assembly: Assembly,
    /// No snapshot has a revision beyond this one.
    pub(crate) revisions: u64,
    /// How far a log has been followed, if one is.
    pub(crate) position: Option<Position>,
}

impl Gist {
    pub(crate) fn new(bounds: PolicyBounds) -> Self {
        Self { assembly: Assembly::new(0, bounds), revisions: 0, position: None }
    }

    pub(crate) fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Statement(statement) => drop(self.assembly.apply(&statement)),
            Entry::IdMark(id, mark) => self.assembly.remember_id(id, mark),
            Entry::AgentMark(agent, device, mark) => self.assembly.remember_agent(agent, device, mark),
            Entry::Revision(revision) => self.revisions = revision,
            Entry::Position(reached) => self.position = reached,
        }
    }

    /// The lines that come to the same, without marks of manifest ids that are older than `oldest`.
    pub(crate) fn entries(&self, oldest: i64) -> impl Iterator<Item = Entry> {
        entries(&self.assembly, self.revisions, self.position, oldest)
    }
}

/// The lines of a journal that come to this, without marks of manifest ids that are older than `oldest`.
pub(crate) fn entries(
    assembly: &Assembly,
    revisions: u64,
    position: Option<Position>,
    oldest: i64,
) -> impl Iterator<Item = Entry> {
    let lifted = assembly.lifts().map(|(id, target)| Entry::lifted(*id, target.clone()));
    let in_force = assembly.working().revocations().iter().map(|revocation| Entry::from(revocation.as_ref()));
    let marks = assembly.marks(oldest).map(Entry::from);
    lifted.chain(in_force).chain(marks).chain([Entry::Revision(revisions), Entry::Position(position)])
}

/// A compaction under way. Dropping it ends it without effect.
#[derive(Debug)]
pub(super) struct Compaction {
    beside: PathBuf,
    /// Up to where the journal is compacted.
    upto: u64,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<usize>>>,
}

/// The name beside a journal under which a shorter one is made.
pub(super) fn beside(journal: &Path) -> PathBuf {
    journal.with_extension("jsonl.new")
}

/// A journal that was made short.
#[derive(Debug)]
pub(super) struct Shorter {
    /// Opened to be appended to.
    pub(super) file: File,
    /// How many lines come before those that were copied.
    pub(super) count: usize,
    /// How many bytes it has.
    pub(super) length: u64,
}

impl Compaction {
    /// Begins to compact the lines of `journal` up to the byte `upto`, where a line ends.
    pub(super) fn begin(journal: &Path, upto: u64) -> io::Result<Self> {
        let (from, to) = (journal.to_owned(), beside(journal));
        let (beside, stop) = (to.clone(), Arc::<AtomicBool>::default());
        let stopped = Arc::clone(&stop);
        let work = move || compact(&from, upto, &to, &stopped);
        let thread = Some(thread::Builder::new().name("policy-compact".into()).spawn(work)?);
        Ok(Self { beside, upto, stop, thread })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Puts the shorter journal in place of `journal`, whose whole lines end at `length`. That its name survives a crash of
    /// the machine is left to the caller, who must append nothing before.
    pub(super) fn finish(mut self, journal: &Path, length: u64) -> io::Result<Shorter> {
        let ended = self.thread.take().map(JoinHandle::join);
        let count = match ended {
            Some(Ok(count)) => count?,
            Some(Err(_)) | None => return Err(io::Error::other("the compaction broke off")),
        };
        let mut from = File::open(journal)?;
        from.seek(SeekFrom::Start(self.upto))?;
        let mut to = OpenOptions::new().append(true).open(&self.beside)?;
        io::copy(&mut from.take(length.saturating_sub(self.upto)), &mut to)?;
        to.sync_all()?;
        let length = to.metadata()?.len();
        fs::rename(&self.beside, journal)?;
        Ok(Shorter { file: to, count, length })
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
            // Best effort: the next start removes it too.
            drop(fs::remove_file(&self.beside));
        }
    }
}

fn compact(from: &Path, upto: u64, to: &Path, stopped: &AtomicBool) -> io::Result<usize> {
    let go_on = || if stopped.load(Ordering::Relaxed) { Err(io::Error::other("stopped")) } else { Ok(()) };
    let mut gist = Gist::new(PolicyBounds::default());
    let lines = BufReader::with_capacity(1 << 18, File::open(from)?.take(upto));
    let mut last = Ok(());
    each_line(from, lines, &mut |entry| {
        if last.is_ok() {
            gist.take(entry);
            last = go_on();
        }
    })
    .map_err(io::Error::other)?;
    last?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut file = BufWriter::with_capacity(1 << 18, file);
    let (mut line, mut count) = (Vec::new(), 0);
    // Marks are judged by their age only where it is known how long manifests may live: at the start.
    for entry in gist.entries(i64::MIN) {
        go_on()?;
        line.clear();
        entry.append_to(&mut line)?;
        file.write_all(&line)?;
        count += 1;
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(count)
}
