//! A directory that feeds the log: a checkout whose files are brought before the control plane as they come and go.
//!
//! A new or changed file is submitted; a manifest whose file is gone, or is in order no more, is withdrawn. A revocation whose
//! file is gone stays, as it does everywhere. What was withdrawn while nobody looked is found at the next start, by who had
//! it written down. Relies on the layout of a policy directory; it never writes there, and decides nothing itself.

mod offer;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Plane, SubmitFault};
use crate::log::Entry;
use crate::source::dir::folder::{Folder, Seen, Standing};
use crate::source::dir::scout::{Files, Found, Reading, Scout};
use crate::source::dir::watch::Wake;
use crate::source::intake::{Held, Kind};
use offer::{Offer, Offered};

/// Who has it written down, as the log has it.
pub const BY: &str = "directory";
/// How often everything is looked at, whatever the system reports.
const RESCAN: Duration = Duration::from_secs(1);
/// The same after the control plane could not write something down.
const RETRY: Duration = Duration::from_secs(5);
/// How many files are submitted at the same time.
const AT_ONCE: usize = 64;

/// A directory that is being watched for a control plane. Dropping it ends the watching; what it brought stays in the log.
pub struct Checkout {
    wakes: SyncSender<Wake>,
    stop: watch::Sender<bool>,
    reconsider: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkout {
    /// Watches `directory` for `plane`, whose work is done by `runtime`. Returns at once: a directory that cannot be read may
    /// come back.
    ///
    /// # Errors
    /// When the thread cannot be started, or the metrics are registered already.
    pub fn start(
        directory: &Path,
        plane: Arc<Plane>,
        runtime: Handle,
        registry: &Registry,
    ) -> io::Result<Self> {
        let metrics = Metrics::register(registry).map_err(io::Error::other)?;
        let (scout, wakes) = Scout::new(directory);
        let (stop, stopping) = watch::channel(false);
        let reconsider = Arc::<AtomicBool>::default();
        let mut clerk = Clerk {
            scout,
            plane,
            runtime,
            stopping,
            metrics,
            reconsider: reconsider.clone(),
            up: None,
            given_up: Vec::new(),
        };
        let thread = thread::Builder::new().name("checkout".into()).spawn(move || clerk.run());
        Ok(Self { wakes, stop, reconsider, thread: Some(thread?) })
    }

    /// Has every file that was refused looked at again: other keys count now. Returns at once.
    pub fn reconsider(&self) {
        self.reconsider.store(true, Ordering::Release);
        // A full queue means that everything is looked at anyway.
        drop(self.wakes.try_send(Wake::Rescan));
    }
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").finish_non_exhaustive()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        drop(self.wakes.send(Wake::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Metrics {
    up: IntGauge,
    refused: IntGaugeVec,
}

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            up: IntGauge::new(
                "portcullis_control_directory_up",
                "1 while the directory that feeds the log can be read, else 0.",
            )?,
            refused: IntGaugeVec::new(
                Opts::new(
                    "portcullis_control_directory_refused_files",
                    "Files of the directory that feeds the log which are refused at the moment.",
                ),
                &["kind"],
            )?,
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        Ok(metrics)
    }
}

struct Clerk {
    scout: Scout,
    plane: Arc<Plane>,
    runtime: Handle,
    stopping: watch::Receiver<bool>,
    metrics: Metrics,
    reconsider: Arc<AtomicBool>,
    up: Option<bool>,
    /// Manifests whose files are gone and that are not withdrawn yet.
    given_up: Vec<Held>,
}

/// What is to be made of one file.
struct Case {
    kind: Kind,
    name: String,
    seen: Option<Seen>,
    offers: Vec<Offer>,
    /// Whether some of it could not be written down.
    owed: bool,
}

/// Whether something has to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Done,
    Owed,
}

impl Clerk {
    fn run(&mut self) {
        let mut due_at = Instant::now();
        let mut due = crate::source::dir::scout::Due { everything: true, ..Default::default() };
        while !due.stop {
            let mut files = due.files;
            if due.everything || Instant::now() >= due_at {
                files.extend(self.look_at_everything(due.everything));
                due_at = Instant::now() + RESCAN;
            }
            if self.bring(files) == Outcome::Owed {
                due_at = Instant::now() + RETRY;
            }
            due = self.scout.wait(due_at.saturating_duration_since(Instant::now()));
        }
    }

    fn look_at_everything(&mut self, thorough: bool) -> Files {
        let Found { mut files, fault } = self.scout.look_at_everything(thorough);
        if self.reconsider.swap(false, Ordering::AcqRel) {
            self.scout.folders.iter_mut().for_each(Folder::forget_refused);
            files.extend(self.scout.look_at_everything(true).files);
        }
        let before = self.up;
        self.note_source(fault);
        if before != Some(true) && self.up == Some(true) {
            self.bring(std::mem::take(&mut files));
            self.withdraw_what_is_gone();
        }
        files
    }

    fn note_source(&mut self, fault: Option<(PathBuf, io::Error)>) {
        let up = fault.is_none();
        if let Some((path, fault)) = fault.filter(|_| self.up != Some(false)) {
            tracing::error!(%fault, path = %path.display(), "the directory that feeds the log cannot be read");
        } else if up && self.up == Some(false) {
            tracing::info!("the directory that feeds the log can be read again");
        }
        self.up = Some(up);
        self.metrics.up.set(i64::from(up));
    }

    /// Brings these files before the control plane: what takes away first.
    fn bring(&mut self, files: Files) -> Outcome {
        let (mut outcome, mut gave_up) = (Outcome::Done, false);
        for kind in Kind::ALL {
            let names: Vec<_> = files.iter().filter(|(of, _)| *of == kind).map(|(_, name)| name).collect();
            for names in names.chunks(AT_ONCE) {
                let cases: Vec<_> = names.iter().filter_map(|name| self.open(kind, name)).collect();
                for case in self.submit(cases) {
                    let before = self.scout.folder(kind).seen(&case.name).map(|seen| seen.standing.clone());
                    if let Some(Standing::Held(held)) = before {
                        gave_up = true;
                        self.given_up.push(held);
                    }
                    if case.owed {
                        outcome = Outcome::Owed;
                    }
                    self.scout.note(case.kind, &case.name, case.seen);
                }
            }
        }
        // A file that was given another name holds what it held.
        if gave_up {
            let others = self.scout.look_at_everything(true).files;
            let renamed: Files = others.difference(&files).cloned().collect();
            if !renamed.is_empty() {
                outcome = outcome.max(self.bring(renamed));
            }
        }
        let given_up = std::mem::take(&mut self.given_up);
        let manifests = self.scout.folder(Kind::Manifest);
        let gone = given_up.into_iter().filter(|held| !manifests.holds(&held.digest)).collect();
        outcome = outcome.max(self.withdraw(gone));
        for folder in &self.scout.folders {
            let refused = i64::try_from(folder.refused()).unwrap_or(i64::MAX);
            self.metrics.refused.with_label_values(&[folder.kind.as_str()]).set(refused);
        }
        outcome
    }

    /// Reads a file, if anything is to be made of it.
    fn open(&self, kind: Kind, name: &str) -> Option<Case> {
        let case = |seen, offers| Some(Case { kind, name: name.to_owned(), seen, offers, owed: false });
        let refused = |version| Some(Seen { version, standing: Standing::Refused });
        match self.scout.read(kind, name) {
            Reading::Same => None,
            Reading::Gone => case(None, Vec::new()),
            Reading::Unreadable(fault) => {
                if !self.scout.folder(kind).is_refused(name) {
                    tracing::error!(%fault, kind = kind.as_str(), name, "a file of the directory cannot be read");
                }
                case(refused(None), Vec::new())
            }
            Reading::Read(bytes, version) => match offer::of_file(kind, bytes) {
                Ok(Offered::Now(offers)) => {
                    case(Some(Seen { version: Some(version), standing: Standing::Taken }), offers)
                }
                Ok(Offered::Later) => {
                    case(Some(Seen { version: Some(version), standing: Standing::NotYet }), Vec::new())
                }
                Err(why) => {
                    tracing::error!(
                        why,
                        kind = kind.as_str(),
                        name,
                        "a file of the directory is not in order"
                    );
                    case(refused(Some(version)), Vec::new())
                }
            },
        }
    }

    /// Has what is in these files written down, and notes what became of it.
    fn submit(&self, cases: Vec<Case>) -> Vec<Case> {
        let one = |mut case: Case| async {
            for offer in std::mem::take(&mut case.offers) {
                let standing = match self.plane.submit(offer.entry, BY).await {
                    Ok(_) => offer.held.map_or(Standing::Taken, Standing::Held),
                    Err(SubmitFault::NotDurable(_) | SubmitFault::Busy) => {
                        case.owed = true;
                        Standing::NotYet
                    }
                    Err(fault) => {
                        tracing::error!(%fault, name = case.name, "a file of the directory is refused");
                        Standing::Refused
                    }
                };
                if let Some(seen) = &mut case.seen
                    && matches!(seen.standing, Standing::Taken | Standing::Held(_))
                {
                    seen.standing = standing;
                }
            }
            case
        };
        let all = futures_util::stream::iter(cases).map(one).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        self.unless_stopped(all).unwrap_or_default()
    }

    fn withdraw(&mut self, gone: Vec<Held>) -> Outcome {
        for Held { id, digest } in gone {
            if self.plane.with_state(|state| state.manifest(&digest).is_none()) {
                continue;
            }
            let entry = Entry::Withdrawal { id: id.clone(), digest };
            match self.unless_stopped(self.plane.submit(entry, BY)) {
                Some(Err(SubmitFault::NotDurable(_) | SubmitFault::Busy)) => {
                    self.given_up.push(Held { id, digest });
                }
                Some(Err(fault)) => tracing::error!(%fault, %id, "a manifest whose file is gone stays"),
                Some(Ok(_)) | None => {}
            }
        }
        if self.given_up.is_empty() { Outcome::Done } else { Outcome::Owed }
    }

    /// Withdraws what this directory once brought and holds no more.
    fn withdraw_what_is_gone(&mut self) {
        let manifests = self.scout.folder(Kind::Manifest);
        let held: HashSet<[u8; 32]> = manifests.held().map(|held| held.digest).collect();
        let gone = self.plane.with_state(|state| {
            let ours = state.policy().manifests().filter(|live| {
                !held.contains(&live.digest)
                    && state.manifest(&live.digest).is_some_and(|note| &*note.by == BY)
            });
            let held = ours.map(|live| Held { id: live.manifest.id.clone(), digest: live.digest });
            held.collect::<Vec<_>>()
        });
        self.withdraw(gone);
    }

    /// Waits for the control plane, but not when this checkout is being dropped.
    fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                _ = stopping.wait_for(|stop| *stop) => None,
            }
        })
    }
}
