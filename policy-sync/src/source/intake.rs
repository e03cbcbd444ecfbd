//! The one way in for signed policy, whatever transport brings it: verify, admit, publish, remember, report.
//!
//! The order matters. A change takes effect first: the snapshot is swapped and enforced. Only then is it written to the
//! journal and recorded, so that no disk stands between a revocation and the sessions it ends. Runs on the thread of its
//! source; nothing here waits for a session.

mod outcome;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use audit::{Event, EventType, Recorder};
use jiff::Timestamp;

use crate::assembly::{Admission, Assembly};
use crate::envelope::Envelope;
use crate::feed::{Feed, Receipt};
use crate::journal::{Entry, Journal};
use crate::keys::KeyRing;
use crate::metrics::PolicyMetrics;
use crate::signed::{Approvals, Statement, verify_manifest, verify_statement};
use crate::snapshot::{LiveManifest, PolicyBounds};
use crate::source::SourceFault;
use crate::source::kept::Kept;
use crate::target::to_hex;

pub(crate) use outcome::{Held, Kind, Refused};

/// How many revisions are set aside in the journal at a time, so that publishing need not wait for it.
const REVISIONS_AHEAD: u64 = 1000;
/// A journal with more lines than this beside what is needed is rewritten at start.
const JOURNAL_SLACK: usize = 1000;
/// Marks of manifest ids younger than this are kept, in seconds, or longer if manifests may live longer.
const MARKS_KEPT: i64 = 90 * 24 * 60 * 60;
/// In larger batches, what is kept of manifests is not synced file by file.
const SYNCED_BATCH: usize = 32;

/// Whose word counts, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    pub(crate) ring: KeyRing,
    pub(crate) approvals: Approvals,
}

pub(crate) struct Intake {
    assembly: Assembly,
    journal: Journal,
    pub(crate) kept: Kept,
    feed: Arc<Feed>,
    recorder: Recorder,
    pub(crate) metrics: PolicyMetrics,
    authorities: Authorities,
    /// No snapshot has a revision beyond this one.
    revisions: u64,
    batch: Batch,
}

/// What happened since the last publication.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    statements: Vec<Statement>,
    held: Vec<([u8; 32], Vec<u8>)>,
    admitted: Vec<Arc<LiveManifest>>,
    gone: Vec<(Arc<LiveManifest>, &'static str)>,
}

impl Intake {
    /// Opens what is remembered in `state`; nothing is published yet.
    pub(crate) fn open(
        state: &Path,
        authorities: Authorities,
        bounds: PolicyBounds,
        feed: Arc<Feed>,
        recorder: Recorder,
        metrics: PolicyMetrics,
    ) -> Result<Self, SourceFault> {
        let mut assembly = Assembly::new(0, bounds);
        let mut revisions = 0;
        let journal = Journal::open(state, |entry| match entry {
            Entry::Statement(statement) => drop(assembly.apply(&statement)),
            Entry::IdMark(id, mark) => assembly.remember_id(id, mark),
            Entry::AgentMark(agent, device, mark) => assembly.remember_agent(agent, device, mark),
            Entry::Revision(revision) => revisions = revision,
        })?;
        revisions = revisions.max(feed.current().revision);
        assembly.begin_at(revisions);
        let kept = Kept::open(state).map_err(SourceFault::State)?;
        let batch = Batch::default();
        let mut intake =
            Self { assembly, journal, kept, feed, recorder, metrics, authorities, revisions, batch };
        intake.compact().map_err(SourceFault::State)?;
        intake.remember();
        Ok(intake)
    }

    /// Offers the envelope of a manifest. When it is held, it has to be released once.
    /// With `again`, nothing is said when it still has to wait for its time.
    pub(crate) fn offer_manifest(
        &mut self,
        origin: &str,
        envelope: &[u8],
        again: bool,
    ) -> Result<Held, Refused> {
        self.admit(envelope).inspect_err(|refused| {
            if !(again && refused.passes()) {
                self.refused(EventType::ManifestRefused, Kind::Manifest, origin, refused);
            }
        })
    }

    fn admit(&mut self, envelope: &[u8]) -> Result<Held, Refused> {
        let read = Envelope::read(envelope)?;
        let signed = verify_manifest(&read, &self.authorities.ring, &self.authorities.approvals)?;
        let held = Held { id: signed.manifest.id.clone(), digest: signed.digest };
        let Admission { new, displaced } = self.assembly.admit(signed, Timestamp::now().as_second())?;
        self.batch.gone.extend(
            displaced.into_iter().filter(|old| old.digest != held.digest).map(|old| (old, SUPERSEDED)),
        );
        if let Some(live) = self.assembly.working().manifest(&held.id).filter(|_| new).cloned() {
            let marks = self.assembly.marks_of(&live.manifest);
            self.batch.entries.extend(marks.into_iter().map(Entry::from));
            self.batch.admitted.push(live);
        }
        self.batch.held.push((held.digest, envelope.to_vec()));
        Ok(held)
    }

    /// Gives up a manifest that is no longer at its source.
    pub(crate) fn release(&mut self, held: &Held) {
        self.batch.gone.extend(self.assembly.withdraw(&held.id, &held.digest).map(|live| (live, WITHDRAWN)));
    }

    /// Offers the envelope of a revocation or a lifting. What was applied once needs no signature a second time.
    pub(crate) fn offer_statement(&mut self, origin: &str, envelope: &[u8]) -> Result<(), Refused> {
        let applied = self.apply(envelope);
        applied.inspect_err(|refused| {
            self.refused(EventType::RevocationRefused, Kind::Revocation, origin, refused)
        })
    }

    fn apply(&mut self, envelope: &[u8]) -> Result<(), Refused> {
        let read = Envelope::read(envelope)?;
        if Statement::read(read.unverified_payload()).is_ok_and(|said| self.assembly.knows(&said)) {
            return Ok(());
        }
        let statement = verify_statement(&read, &self.authorities.ring)?;
        if self.assembly.apply(&statement) {
            self.batch.entries.push(Entry::Statement(statement.clone()));
            self.batch.statements.push(statement);
        }
        Ok(())
    }

    /// Notes a file that could not even be read.
    pub(crate) fn unreadable(&self, kind: Kind, origin: &str, fault: &io::Error) {
        let event_type = match kind {
            Kind::Manifest => EventType::ManifestRefused,
            Kind::Revocation => EventType::RevocationRefused,
            Kind::Crl => EventType::CrlRefused,
        };
        self.refused(event_type, kind, origin, &Refused::Unreadable(fault.to_string()));
    }

    fn refused(&self, event_type: EventType, kind: Kind, origin: &str, refused: &Refused) {
        tracing::error!(kind = kind.as_str(), origin, %refused, "policy file refused");
        self.metrics.refusals.with_label_values(&[kind.as_str()]).inc();
        self.recorder.record(Event::new(event_type).detail(format_args!("{origin}: {refused}")));
    }

    /// Puts other keys and bounds in force for what is offered from now on.
    pub(crate) fn rebound(&mut self, authorities: Authorities, bounds: PolicyBounds) {
        self.authorities = authorities;
        self.assembly.rebound(bounds);
    }

    /// Puts everything offered and released since the last call in force. `noticed` is when the first of it was noticed.
    pub(crate) fn publish(&mut self, noticed: Instant) {
        let mut receipt = Receipt::default();
        while let Some(snapshot) = self.assembly.next_snapshot() {
            match self.feed.publish(snapshot) {
                Ok(enforced) => receipt = enforced,
                // Somebody else has published into this feed: go past them.
                Err(fault) => {
                    self.assembly.begin_at(fault.current);
                    self.assembly.touch();
                    continue;
                }
            }
            self.metrics.publications.inc();
            self.metrics.apply_seconds.observe(noticed.elapsed().as_secs_f64());
            let working = self.assembly.working();
            self.metrics.manifests.set(gauge(working.manifest_count()));
            self.metrics.revocations.set(gauge(working.revocations().len()));
        }
        self.report(receipt, noticed);
    }

    /// Writes down what must not be forgotten. To be called after publishing; also retries what failed before.
    pub(crate) fn remember(&mut self) {
        self.keep();
        self.set_revisions_aside();
        let entries = std::mem::take(&mut self.batch.entries);
        if let Err(fault) = self.journal.append(entries) {
            tracing::error!(%fault, "the policy journal cannot be written; a restart would forget the latest revocations");
        }
        self.metrics.journal_behind.set(i64::from(self.journal.behind()));
    }

    fn report(&mut self, receipt: Receipt, noticed: Instant) {
        let revision = self.assembly.working().revision;
        let mut receipt = Some(receipt);
        for statement in self.batch.statements.drain(..) {
            // What one publication cut is told once, with the first of its statements.
            let cut = receipt.take().unwrap_or_default();
            let (event_type, reason) = match &statement {
                Statement::Revoke(revocation) => (EventType::Revoked, &revocation.reason),
                Statement::Lift(lift) => (EventType::Lifted, &lift.reason),
            };
            let event = Event::new(event_type).target(statement.target()).detail(reason).revision(revision);
            let event = event.sessions_cut(cut.sessions_cut).upload_bytes(cut.upload_bytes);
            self.recorder.record(event.duration(noticed.elapsed()));
        }
        for live in self.batch.admitted.drain(..) {
            self.recorder.record(about(EventType::ManifestAccepted, &live).revision(revision));
        }
        for (live, why) in self.batch.gone.iter().filter(|(live, _)| !self.is_live(live)) {
            self.recorder.record(about(EventType::ManifestWithdrawn, live).revision(revision).detail(why));
        }
    }

    /// Brings the last good policy on disk up to date.
    fn keep(&mut self) {
        let (held, gone) = (std::mem::take(&mut self.batch.held), std::mem::take(&mut self.batch.gone));
        let durable = held.len() <= SYNCED_BATCH;
        let gone = gone.iter().filter(|(live, _)| !self.is_live(live));
        let dropped = gone.map(|(live, _)| self.kept.drop_manifest(&live.digest));
        let kept = held.iter().map(|(digest, envelope)| self.kept.keep_manifest(digest, envelope, durable));
        for fault in dropped.chain(kept).filter_map(Result::err) {
            tracing::error!(%fault, "the last good policy on disk is not up to date");
        }
    }

    /// Whether this very manifest is live, or live again: its file may only have been given another name.
    fn is_live(&self, manifest: &LiveManifest) -> bool {
        let live = self.assembly.working().manifest(&manifest.manifest.id);
        live.is_some_and(|live| live.digest == manifest.digest)
    }

    /// Drops what is kept of manifests that are not live any more.
    pub(crate) fn prune(&self) {
        let live: std::collections::HashSet<_> =
            self.assembly.working().manifests().map(|live| to_hex(&live.digest)).collect();
        if let Err(fault) = self.kept.retain(|digest| live.contains(digest)) {
            tracing::error!(%fault, "the last good policy on disk is not up to date");
        }
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Leaves the journal so that the next start goes on with the very next revision.
    pub(crate) fn close(&mut self) {
        self.batch.entries.push(Entry::Revision(self.assembly.working().revision));
        self.remember();
    }

    fn set_revisions_aside(&mut self) {
        let reached = self.assembly.working().revision;
        if self.revisions < reached + REVISIONS_AHEAD / 2 {
            self.revisions = reached + REVISIONS_AHEAD;
            self.batch.entries.push(Entry::Revision(self.revisions));
        }
    }

    /// Rewrites the journal when most of it is outdated.
    fn compact(&mut self) -> io::Result<()> {
        let longest_life =
            i64::try_from(self.assembly.working().bounds().max_ttl.as_secs()).unwrap_or(i64::MAX);
        let oldest = Timestamp::now().as_second().saturating_sub(longest_life.max(MARKS_KEPT));
        let revocations = self.assembly.working().revocations();
        let needed = revocations.len() + self.assembly.lifts().count() + self.assembly.marks(oldest).count();
        if self.journal.len() <= 2 * needed + JOURNAL_SLACK {
            return Ok(());
        }
        let lifted = self.assembly.lifts().map(|(id, target)| Entry::lifted(*id, target.clone()));
        let in_force = revocations.iter().map(|revocation| Entry::from(revocation.as_ref()));
        let marks = self.assembly.marks(oldest).map(Entry::from);
        let entries: Vec<_> =
            lifted.chain(in_force).chain(marks).chain([Entry::Revision(self.revisions)]).collect();
        self.journal.rewrite(entries)
    }
}

const SUPERSEDED: &str = "a later manifest took its place";
const WITHDRAWN: &str = "its source no longer holds it";

fn about(event_type: EventType, live: &LiveManifest) -> Event {
    let manifest = &live.manifest;
    let event = Event::new(event_type).manifest(&manifest.id).user(&manifest.user);
    event.agent(Some(&manifest.agent), &manifest.device)
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
