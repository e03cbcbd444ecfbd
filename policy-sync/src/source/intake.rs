//! The one way in for signed policy, whatever transport brings it: verify, admit, publish, remember, report.
//!
//! The order matters. A change takes effect first: the snapshot is swapped and enforced. Only then is it recorded. What is to
//! be written down is handed out and written elsewhere, so that no disk stands between a revocation and the sessions it
//! ends. Runs on the thread of its source; nothing here waits for a session or for a disk, once it is open.

mod outcome;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use audit::{Event, EventType, Recorder};
use bytes::Bytes;
use jiff::Timestamp;

use crate::assembly::{Admission, Assembly, NotAdmitted};
use crate::envelope::Envelope;
use crate::feed::{Feed, Receipt};
use crate::journal::{Entry, Gist, Journal, entries};
use crate::keys::KeyRing;
use crate::log::Position;
use crate::metrics::PolicyMetrics;
use crate::signed::{Approvals, SignedManifest, Statement, verify_manifest, verify_statement};
use crate::snapshot::{LiveManifest, PolicyBounds};
use crate::source::SourceFault;
use crate::source::kept::Kept;
use crate::source::memory::{FileWork, Memory, Writing};
use crate::target::to_hex;

pub(crate) use outcome::{Admitted, Held, Kind, Refused};

/// How many revisions are set aside in the journal at a time, so that publishing need not wait for it.
const REVISIONS_AHEAD: u64 = 1000;
/// Marks of manifest ids younger than this are kept, in seconds, or longer if manifests may live longer.
const MARKS_KEPT: i64 = 90 * 24 * 60 * 60;
/// Whose word counts, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    pub(crate) ring: KeyRing,
    pub(crate) approvals: Approvals,
}

pub(crate) struct Intake {
    assembly: Assembly,
    feed: Arc<Feed>,
    recorder: Recorder,
    pub(crate) metrics: PolicyMetrics,
    authorities: Arc<Authorities>,
    /// No snapshot has a revision beyond this one.
    revisions: u64,
    /// How far the log has been followed, if one is.
    position: Option<Position>,
    batch: Batch,
}

/// What a publication put in force beside manifests.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The statements, in the order in which they came.
    pub(crate) statements: Vec<Statement>,
    /// What enforcing all of it did.
    pub(crate) receipt: Receipt,
}

/// What happened since the last publication.
#[derive(Default)]
struct Batch {
    writing: Writing,
    statements: Vec<Statement>,
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
    ) -> Result<(Self, Memory), SourceFault> {
        let mut gist = Gist::new(bounds);
        let mut journal = Journal::open(state, |entry| gist.take(entry))?;
        let Gist { mut assembly, revisions, position } = gist;
        let revisions = revisions.max(feed.current().revision);
        assembly.begin_at(revisions);
        let kept = Kept::open(state).map_err(SourceFault::State)?;
        let (authorities, batch) = (Arc::new(authorities), Batch::default());
        let mut intake = Self { assembly, feed, recorder, metrics, authorities, revisions, position, batch };
        intake.compact(&mut journal).map_err(SourceFault::State)?;
        let mut memory = Memory::new(journal, kept, intake.metrics.clone());
        memory.write(intake.writing());
        Ok((intake, memory))
    }

    /// Offers the envelope of a manifest. When it is held, it has to be released once.
    /// With `again`, nothing is said when it still has to wait for its time.
    pub(crate) fn offer_manifest(
        &mut self,
        origin: &str,
        envelope: &[u8],
        again: bool,
    ) -> Result<Held, Refused> {
        let admitted = self.admit(envelope).inspect_err(|refused| {
            if !(again && refused.passes()) {
                self.refuse_manifest(origin, refused);
            }
        });
        admitted.map(|admitted| admitted.held)
    }

    fn admit(&mut self, envelope: &[u8]) -> Result<Admitted, Refused> {
        let read = Envelope::read(envelope)?;
        let signed = verify_manifest(&read, &self.authorities.ring, &self.authorities.approvals)?;
        Ok(self.admit_verified(signed, Bytes::copy_from_slice(envelope))?)
    }

    /// Admits a manifest that was verified under the present authorities, as [`Intake::offer_manifest`] does.
    pub(crate) fn admit_verified(
        &mut self,
        signed: SignedManifest,
        envelope: Bytes,
    ) -> Result<Admitted, NotAdmitted> {
        let held = Held { id: signed.manifest.id.clone(), digest: signed.digest };
        let Admission { new, displaced } = self.assembly.admit(signed, Timestamp::now().as_second())?;
        let displaced: Vec<_> = displaced.into_iter().filter(|old| old.digest != held.digest).collect();
        let digests = displaced.iter().map(|old| old.digest).collect();
        self.batch.gone.extend(displaced.into_iter().map(|old| (old, SUPERSEDED)));
        if let Some(live) = self.assembly.working().manifest(&held.id).filter(|_| new).cloned() {
            let marks = self.assembly.marks_of(&live.manifest);
            self.batch.writing.entries.extend(marks.into_iter().map(Entry::from));
            self.batch.admitted.push(live);
        }
        self.file(FileWork::Keep { digest: held.digest, envelope });
        Ok(Admitted { held, displaced: digests })
    }

    /// Tells of a manifest that was refused.
    pub(crate) fn refuse_manifest(&self, origin: &str, refused: &Refused) {
        self.refused(EventType::ManifestRefused, Kind::Manifest, origin, refused);
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
        self.apply_verified(statement);
        Ok(())
    }

    /// Applies a statement that was verified under the present authorities; false when it was applied before.
    pub(crate) fn apply_verified(&mut self, statement: Statement) -> bool {
        let new = self.assembly.apply(&statement);
        if new {
            self.batch.writing.entries.push(Entry::Statement(statement.clone()));
            self.batch.statements.push(statement);
        }
        new
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
        self.authorities = Arc::new(authorities);
        self.assembly.rebound(bounds);
    }

    /// Whose word counts at the moment.
    pub(crate) fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// Puts everything offered and released since the last call in force. `noticed` is when the first of it was noticed.
    pub(crate) fn publish(&mut self, noticed: Instant) -> Published {
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
        Published { statements: std::mem::take(&mut self.batch.statements), receipt }
    }

    fn report(&mut self, receipt: Receipt, noticed: Instant) {
        let revision = self.assembly.working().revision;
        let mut receipt = Some(receipt);
        for statement in &self.batch.statements {
            // What one publication cut is told once, with the first of its statements.
            let cut = receipt.take().unwrap_or_default();
            let (event_type, reason) = match statement {
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
        for (live, why) in std::mem::take(&mut self.batch.gone) {
            if !self.is_live(&live) {
                self.recorder
                    .record(about(EventType::ManifestWithdrawn, &live).revision(revision).detail(why));
                self.file(FileWork::Drop { digest: live.digest });
            }
        }
    }

    /// What has been said since the last call and is to be remembered, for a disk that is to begin with it before it is
    /// published. The rest is in [`Intake::writing`].
    pub(crate) fn words(&mut self) -> Writing {
        let words = self.batch.writing.entries.extract_if(.., |entry| matches!(entry, Entry::Statement(_)));
        Writing { entries: words.collect(), ..Writing::default() }
    }

    /// What has to be written down of everything since the last call. To be called after publishing.
    pub(crate) fn writing(&mut self) -> Writing {
        self.set_revisions_aside();
        std::mem::take(&mut self.batch.writing)
    }

    /// Has something done to the files that are kept.
    pub(crate) fn file(&mut self, work: FileWork) {
        self.batch.writing.files.push(work);
    }

    /// Has it written down when the source was last heard of.
    pub(crate) fn heard(&mut self, at: Timestamp) {
        self.batch.writing.fresh = Some(at);
    }

    /// How far the log has been followed, if one is.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Notes how far the log has been followed with everything until now.
    pub(crate) fn reached(&mut self, position: Position) {
        self.position = Some(position);
        self.batch.writing.position = Some(position);
    }

    /// Notes that what is held from now on is not what a log came to.
    pub(crate) fn leave_log(&mut self) {
        if self.position.take().is_some() {
            self.batch.writing.entries.push(Entry::Position(None));
        }
    }

    /// Whether this very manifest is live, or live again: its file may only have been given another name.
    fn is_live(&self, manifest: &LiveManifest) -> bool {
        let live = self.assembly.working().manifest(&manifest.manifest.id);
        live.is_some_and(|live| live.digest == manifest.digest)
    }

    /// The digests, in hex, of every manifest that is live.
    pub(crate) fn live(&self) -> std::collections::HashSet<String> {
        self.assembly.working().manifests().map(|live| to_hex(&live.digest)).collect()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.assembly.working().revision
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What leaves the journal so that the next start goes on with the very next revision.
    pub(crate) fn close(&mut self) -> Writing {
        let mut writing = self.writing();
        writing.entries.push(Entry::Revision(self.revision()));
        writing
    }

    fn set_revisions_aside(&mut self) {
        let reached = self.assembly.working().revision;
        if self.revisions < reached + REVISIONS_AHEAD / 2 {
            self.revisions = reached + REVISIONS_AHEAD;
            self.batch.writing.entries.push(Entry::Revision(self.revisions));
        }
    }

    /// Rewrites the journal when most of it is outdated; while it goes on, it does that by itself.
    fn compact(&self, journal: &mut Journal) -> io::Result<()> {
        let longest_life =
            i64::try_from(self.assembly.working().bounds().max_ttl.as_secs()).unwrap_or(i64::MAX);
        let oldest = Timestamp::now().as_second().saturating_sub(longest_life.max(MARKS_KEPT));
        let revocations = self.assembly.working().revocations();
        let needed = revocations.len() + self.assembly.lifts().count() + self.assembly.marks(oldest).count();
        if !journal.is_long_for(needed) {
            return Ok(());
        }
        journal.rewrite(entries(&self.assembly, self.revisions, self.position, oldest))
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
