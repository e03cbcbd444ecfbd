//! The `dir:` source: a directory of envelopes, as a GitOps checkout or a mounted volume fills it, watched.
//!
//! Layout: `manifests/*.json`, `revocations/*.json` (both DSSE envelopes) and `crls/*` (`.crl`, `.pem`, `.der`); names that
//! begin with a dot do not count. A change is applied as soon as the system reports it, file by file, without waiting for
//! more to come; a rescan every second finds what was not reported. Removing a manifest's file withdraws the manifest, and a
//! file that is not in order authorizes nothing; removing a revocation's file lifts nothing.

pub(crate) mod folder;
mod layout;
pub(crate) mod scout;
pub(crate) mod watch;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use audit::Recorder;
use certs::Document;
use prometheus::Registry;

use crate::feed::Feed;
use crate::keys::KeyRing;
use crate::metrics::PolicyMetrics;
use crate::signed::Approvals;
use crate::snapshot::PolicyBounds;
use crate::source::SourceFault;
use crate::source::intake::{Authorities, Intake};
use scout::Scout;
use watch::Wake;
use worker::Worker;

pub use layout::{write_crl, write_manifest, write_revocation};

/// Takes over the CRLs of the source: all that it holds, whenever one of them has changed. Called on the source's thread.
pub type CrlSink = Box<dyn Fn(Vec<Document>) + Send>;

/// What a directory source needs to know.
#[derive(Debug, Clone)]
pub struct DirOptions {
    /// The directory of the policy.
    pub directory: PathBuf,
    /// Where the gateway keeps what it must not forget, a directory of its own; made when it is missing.
    pub state: PathBuf,
    /// The keys that count.
    pub keys: KeyRing,
    /// Whose manifests need more than their author's signature.
    pub approvals: Approvals,
    /// What the gateway's settings impose.
    pub bounds: PolicyBounds,
    /// How often everything is looked at, whatever the system reports.
    pub rescan: Duration,
}

impl DirOptions {
    /// Options with a rescan every second and without approvals.
    #[must_use]
    pub fn new(
        directory: impl Into<PathBuf>,
        state: impl Into<PathBuf>,
        keys: KeyRing,
        bounds: PolicyBounds,
    ) -> Self {
        let (directory, state) = (directory.into(), state.into());
        Self {
            directory,
            state,
            keys,
            approvals: Approvals::default(),
            bounds,
            rescan: Duration::from_secs(1),
        }
    }
}

/// A directory that is being watched. Dropping it ends the watching; what it published stays in force.
#[derive(Debug)]
pub struct DirSource {
    wakes: SyncSender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl DirSource {
    /// Reads the directory once, publishes what it holds, and watches it from then on. When the directory is away, the
    /// last good policy is published, as stale as it is.
    ///
    /// # Errors
    /// [`SourceFault`] when the state directory cannot be used, is in use, or is damaged. A directory of policy that cannot
    /// be read is no such fault: it may come back.
    pub fn start(
        options: DirOptions,
        feed: Arc<Feed>,
        recorder: Recorder,
        registry: &Registry,
        crls: CrlSink,
    ) -> Result<Self, SourceFault> {
        let authorities = Authorities { ring: options.keys, approvals: options.approvals };
        let metrics = PolicyMetrics::register(registry)?;
        let intake = Intake::open(&options.state, authorities, options.bounds, feed, recorder, metrics)?;
        let (scout, wakes) = Scout::new(&options.directory);
        let mut worker = Worker::new(scout, intake, crls);
        worker.begin();
        let rescan = options.rescan;
        let thread = thread::Builder::new().name("policy".into()).spawn(move || worker.run(rescan));
        Ok(Self { wakes, thread: Some(thread.map_err(SourceFault::Thread)?) })
    }

    /// Looks at everything now, and not only at the next rescan. Returns at once.
    pub fn rescan(&self) {
        // A full queue means that a rescan is due anyway.
        drop(self.wakes.try_send(Wake::Rescan));
    }

    /// Puts other keys, approvals and bounds in force: every manifest is verified anew. Returns at once.
    pub fn reload(&self, keys: KeyRing, approvals: Approvals, bounds: PolicyBounds) {
        let authorities = Authorities { ring: keys, approvals };
        // The thread ends only when this source is dropped.
        drop(self.wakes.send(Wake::Reload(Box::new((authorities, bounds)))));
    }
}

impl Drop for DirSource {
    fn drop(&mut self) {
        drop(self.wakes.send(Wake::Stop));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests;
