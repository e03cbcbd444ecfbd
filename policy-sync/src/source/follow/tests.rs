//! Following a log: in good order, in bad order, and against a bus that lies.

mod following;
mod hostile;
mod outage;
mod plane;
mod steps;

use std::sync::Arc;

use audit::{MemoryLog, Recorder, RecorderOptions, Sink};
use jiff::Timestamp;
use prometheus::Registry;
use tempfile::TempDir;

use super::*;
use crate::snapshot::Snapshot;
use plane::Plane;

/// The names of the live manifests and of the revoked targets, sorted.
fn contents(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let mut manifests: Vec<_> =
        snapshot.manifests().map(|live| format!("{}@{}", live.manifest.id, live.issued_at)).collect();
    let mut revocations: Vec<_> =
        snapshot.revocations().iter().map(|revocation| revocation.target.to_string()).collect();
    manifests.sort();
    revocations.sort();
    (manifests, revocations)
}

/// A replica without a link and without a disk thread: every step is the test's.
struct Bench {
    replica: Replica,
    feed: Arc<Feed>,
    log: MemoryLog,
    memory: crate::source::memory::Memory,
    state: Arc<TempDir>,
}

impl Bench {
    fn new(plane: &Plane) -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), plane, Arc::new(Timestamp::now))
    }

    fn on(state: Arc<TempDir>, plane: &Plane, clock: Clock) -> Self {
        let registry = Registry::new();
        let log = MemoryLog::new();
        let recorder =
            Recorder::open(RecorderOptions::new("gw-1", Sink::Memory(log.clone())), &registry).unwrap();
        let feed = Arc::new(Feed::new(PolicyBounds::default()));
        let metrics = PolicyMetrics::register(&registry).unwrap();
        let refusals = Refusals::new(FollowMetrics::register(&registry).unwrap(), recorder.clone());
        let authorities = Authorities { ring: plane.ring(), approvals: Approvals::default() };
        let opened =
            Intake::open(state.path(), authorities, PolicyBounds::default(), feed.clone(), recorder, metrics);
        let (intake, memory) = opened.unwrap();
        let replica = resume(intake, &memory.kept, refusals, Box::new(|_| {}), clock).unwrap();
        Self { replica, feed, log, memory, state }
    }

    /// Writes everything down, and starts anew from it.
    fn restart(mut self, plane: &Plane) -> Self {
        self.keep();
        let state = self.state.clone();
        drop(self);
        Self::on(state, plane, Arc::new(Timestamp::now))
    }

    /// Writes everything down.
    fn keep(&mut self) {
        let (writing, ..) = self.replica.account();
        self.memory.write(writing);
    }

    /// Begins at the beginning of the plane's log, heard of a hundred seconds ago.
    fn begin(&mut self, plane: &Plane) {
        self.take(&plane.heartbeat_at(Timestamp::now() - SignedDuration::from_secs(100)));
        self.replica.go_without_snapshot();
    }

    fn take(&mut self, frame: &crate::transport::Frame) {
        self.replica.take(frame, Instant::now());
    }

    /// Fetches records as long as they lead further.
    fn catch_up(&mut self, plane: &Plane) {
        while self.fetch(plane.records_after(self.sequence(), 5)) == replica::Progress::Some {}
    }

    fn fetch(&mut self, records: Vec<bytes::Bytes>) -> replica::Progress {
        let opened = proof::open_all(&records, &self.replica.authorities());
        self.replica.take_fetched(opened, Instant::now())
    }

    fn sequence(&self) -> u64 {
        self.replica.course.position().map_or(0, |position| position.sequence)
    }

    fn contents(&self) -> (Vec<String>, Vec<String>) {
        contents(&self.feed.current())
    }

    fn is_fresh(&self) -> bool {
        self.feed.age().is_some_and(|age| age.as_secs() < 50)
    }

    fn refused(&self, reason: refusal::Refusal) -> u64 {
        self.replica.refusals.metrics().refused(reason)
    }
}
