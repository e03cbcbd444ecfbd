//! What this gateway makes of the log: verified frames and fetches in, policy in force and receipts out.
//!
//! Everything here happens at once and on the caller's thread: no link, no disk, no waiting. Taking away never waits for
//! its turn: a revocation is put in force as soon as it is known, as a hint or inside a record that lies ahead. Whatever
//! gives is taken in the order of the log only.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use super::Clock;
use super::course::{Bearing, Beat, Course, Want};
use super::holdings::Holdings;
use super::keeper::Desk;
use super::proof::{self, Checked, Opened, Proven};
use super::receipts::Reached;
use super::refusal::{Refusal, Refusals};
use crate::envelope::{Envelope, PayloadType};
use crate::feed::Receipt;
use crate::log::Heartbeat;
use crate::log::{Entry, LogFault, Position, SnapshotHead};
use crate::signed::{Statement, verify_statement};
use crate::snapshot::PolicyBounds;
use crate::source::intake::{Authorities, Intake, Kind, Published, Refused};
use crate::source::memory::{FileWork, Writing};
use crate::transport::{Enforced, Frame};

/// Up to so many statements are published one by one, so that each has a receipt of its own.
const ONE_BY_ONE: usize = 16;

pub(super) struct Replica {
    pub(super) intake: Intake,
    pub(super) course: Course,
    pub(super) holdings: Holdings,
    pub(super) refusals: Refusals,
    clock: Clock,
    enforced: Vec<Enforced>,
    /// Where words are handed over to be written down while they are put in force.
    desk: Option<Desk>,
    /// When a control plane was last heard of in good order.
    alive: Instant,
}

impl Replica {
    pub(super) fn new(
        intake: Intake,
        course: Course,
        holdings: Holdings,
        refusals: Refusals,
        clock: Clock,
    ) -> Self {
        Self {
            intake,
            course,
            holdings,
            refusals,
            clock,
            enforced: Vec::new(),
            desk: None,
            alive: Instant::now(),
        }
    }

    /// Has revocations and liftings written down from here on while they are put in force, and not only afterwards.
    pub(super) fn remember_at(&mut self, desk: Desk) {
        self.desk = Some(desk);
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn authorities(&self) -> Arc<Authorities> {
        self.intake.authorities().clone()
    }

    /// When a control plane last said something new.
    pub(super) const fn alive(&self) -> Instant {
        self.alive
    }

    /// Takes a frame as it comes.
    pub(super) fn take(&mut self, frame: &Frame, arrived: Instant) {
        match frame {
            Frame::Hint(envelope) => self.take_hint(envelope, arrived),
            Frame::Record(envelope) => self.take_live(envelope, arrived),
            Frame::Heartbeat(envelope) => self.take_heartbeat(envelope),
        }
        self.refusals.metrics().show(self.course.position(), self.course.ahead());
    }

    /// A revocation that is being written down. Liftings give something back, and are taken from the log only.
    fn take_hint(&mut self, envelope: &Bytes, arrived: Instant) {
        let read = match Envelope::read(envelope) {
            Ok(read) if read.payload_type() == PayloadType::Revocation => read,
            Ok(_) => return self.refusals.note(Refusal::Malformed, "a hint that is no revocation"),
            Err(fault) => return self.refusals.note(Refusal::from(&fault), format_args!("hint: {fault}")),
        };
        match verify_statement(&read, &self.authorities().ring) {
            Ok(Statement::Lift(_)) => self.refusals.note(Refusal::Malformed, "a hint that is no revocation"),
            Ok(statement) => {
                if self.intake.apply_verified(statement) {
                    self.publish(arrived);
                } else {
                    self.refusals.note(Refusal::Replayed, "hint");
                }
            }
            Err(fault) => {
                let refused = Refused::from(fault);
                self.refusals.note(Refusal::from(&refused), format_args!("hint: {refused}"));
            }
        }
    }

    fn take_live(&mut self, envelope: &Bytes, arrived: Instant) {
        let proven = match proof::open(envelope, &self.authorities()) {
            Ok(proven) => proven,
            Err(fault) => return self.refusals.note(Refusal::from(&fault), format_args!("record: {fault}")),
        };
        match self.course.record(&proven.record, self.now()) {
            Ok(()) => {
                self.alive = Instant::now();
                self.apply(vec![proven], arrived);
            }
            Err(refusal) => {
                self.refusals.note(refusal, proven.record.position);
                // What takes away need not wait until the gap is closed.
                let ahead = matches!(refusal, Refusal::Gap | Refusal::Epoch);
                if let Checked::Statement(Ok(statement @ Statement::Revoke(_))) = proven.checked
                    && ahead
                    && self.intake.apply_verified(statement)
                {
                    self.publish(arrived);
                }
            }
        }
    }

    fn take_heartbeat(&mut self, envelope: &Bytes) {
        let beat = match Heartbeat::open(envelope, &self.authorities().ring) {
            Ok(beat) => beat,
            Err(fault) => {
                return self.refusals.note(Refusal::from(&fault), format_args!("heartbeat: {fault}"));
            }
        };
        match self.course.heartbeat(&beat, self.now()) {
            Ok(meaning) => {
                self.alive = Instant::now();
                self.note_beat(Some(meaning));
            }
            Err(refusal) => self
                .refusals
                .note(refusal, format_args!("heartbeat of {}/{} at {}", beat.epoch, beat.sequence, beat.now)),
        }
    }

    fn note_beat(&mut self, beat: Option<Beat>) {
        if let Some(Beat::Fresh { at, age }) = beat {
            self.intake.feed().set_age(age);
            self.intake.heard(at);
        }
    }

    /// Takes fetched records: as many as follow each other from where this gateway is. Says whether that led further.
    pub(super) fn take_fetched(
        &mut self,
        records: Vec<Result<Proven, LogFault>>,
        arrived: Instant,
    ) -> Progress {
        if records.is_empty() {
            self.course.at_end();
            return Progress::Nothing;
        }
        let (mut next, mut contradicting) = (Vec::new(), None);
        // Judged against a course that runs ahead, so that the whole of it is known to hold together before any of it counts.
        let mut course = self.course.clone();
        let now = self.now();
        for opened in records {
            let proven = match opened {
                Ok(proven) => proven,
                Err(fault) => {
                    self.refusals.note(Refusal::from(&fault), format_args!("fetched record: {fault}"));
                    break;
                }
            };
            match course.record(&proven.record, now) {
                Ok(()) => {
                    course.arrive(proven.record.position, now);
                    next.push(proven);
                }
                Err(Refusal::Replayed) => self.refusals.note(Refusal::Replayed, proven.record.position),
                Err(refusal) => {
                    self.refusals.note(refusal, proven.record.position);
                    contradicting = Some(proven.record);
                    break;
                }
            }
        }
        let progress = if next.is_empty() { Progress::Nothing } else { Progress::Some };
        self.apply(next, arrived);
        if let Some(record) = contradicting {
            // What follows from that is the same for the course itself, now that it is where the other one was.
            let _ = self.course.record(&record, now);
        }
        progress
    }

    /// Puts records in force that follow each other from where this gateway is: first what takes away, then the rest in order.
    fn apply(&mut self, records: Vec<Proven>, arrived: Instant) {
        let Some(last) = records.last().map(|proven| proven.record.position) else { return };
        let is_statement = |proven: &Proven| matches!(proven.checked, Checked::Statement(_));
        let one_by_one = records.iter().filter(|proven| is_statement(proven)).count() <= ONE_BY_ONE;
        let (statements, others): (Vec<_>, Vec<_>) = records.into_iter().partition(is_statement);
        for proven in statements {
            self.take_entry(proven);
            if one_by_one {
                self.publish(arrived);
            }
        }
        self.publish(arrived);
        others.into_iter().for_each(|proven| self.take_entry(proven));
        self.holdings.hand_on_crls();
        self.publish(arrived);
        self.arrived(last);
    }

    fn take_entry(&mut self, proven: Proven) {
        let origin = format!("record {}", proven.record.position);
        self.holdings.take(&mut self.intake, &origin, &proven.record.entry, proven.checked);
    }

    fn arrived(&mut self, position: Position) {
        self.intake.reached(position);
        let beat = self.course.arrive(position, self.now());
        self.note_beat(beat);
        self.refusals.metrics().show(self.course.position(), self.course.ahead());
    }

    /// Where a fetched snapshot head leads.
    pub(super) fn take_head(&mut self, envelope: &[u8]) -> Result<(SnapshotHead, Bearing), Refusal> {
        let head = SnapshotHead::open(envelope, &self.authorities().ring).map_err(|fault| {
            let refusal = Refusal::from(&fault);
            self.refusals.note(refusal, format_args!("snapshot: {fault}"));
            refusal
        })?;
        let bearing = self.course.head(&head, self.now()).inspect_err(|refusal| {
            self.refusals.note(*refusal, format_args!("snapshot at {}", head.position));
        })?;
        Ok((head, bearing))
    }

    /// Goes on without a snapshot.
    pub(super) fn go_without_snapshot(&mut self) {
        let beat = self.course.no_snapshot(self.now());
        self.note_beat(beat);
    }

    /// Puts the entries of a snapshot in force with the next publication, and notes which manifests it names.
    pub(super) fn take_entries(
        &mut self,
        entries: impl IntoIterator<Item = Opened>,
        named: &mut HashSet<[u8; 32]>,
    ) {
        for (entry, checked) in entries {
            if let Entry::Manifest(envelope) = &entry {
                named.insert(match &checked {
                    Checked::Manifest(manifest) => manifest
                        .as_ref()
                        .as_ref()
                        .map_or_else(|_| super::holdings::payload_digest(envelope), |signed| signed.digest),
                    Checked::Statement(_) | Checked::Plain => super::holdings::payload_digest(envelope),
                });
            }
            self.holdings.take(&mut self.intake, "snapshot", &entry, checked);
        }
        self.holdings.hand_on_crls();
    }

    /// Notes that everything a snapshot names was taken; manifests that it does not name are withdrawn.
    pub(super) fn arrive_by_snapshot(&mut self, position: Position, named: &HashSet<[u8; 32]>) {
        self.holdings.retain(&mut self.intake, named);
        self.publish(Instant::now());
        self.intake.reached(position);
        self.intake.file(FileWork::DropChunks);
        let beat = self.course.arrive_by_snapshot(position, self.now());
        self.note_beat(beat);
        self.refusals.metrics().show(self.course.position(), self.course.ahead());
    }

    /// Puts other keys and bounds in force for what comes from now on.
    pub(super) fn rebound(&mut self, authorities: Authorities, bounds: PolicyBounds) {
        self.intake.rebound(authorities, bounds);
        self.publish(Instant::now());
    }

    /// Puts everything taken since the last publication in force.
    pub(super) fn publish(&mut self, arrived: Instant) {
        if let Some(desk) = &self.desk {
            desk.put(self.intake.words());
        }
        let Published { statements, receipt } = self.intake.publish(arrived);
        let latency_us = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut receipt = Some(receipt);
        for statement in statements {
            // What one publication cut is told once, with the first of its revocations.
            let Statement::Revoke(revocation) = statement else { continue };
            let Receipt { sessions_cut, upload_bytes, .. } = receipt.take().unwrap_or_default();
            let revocation = revocation.id;
            self.enforced.push(Enforced { revocation, sessions_cut, upload_bytes, latency_us });
        }
    }

    /// What happened since the last call: what is to be written down, and the receipts that hold once it is.
    pub(super) fn account(&mut self) -> (Writing, Reached, Vec<Enforced>) {
        let reached = Reached { position: self.intake.position(), revision: self.intake.revision() };
        (self.intake.writing(), reached, std::mem::take(&mut self.enforced))
    }

    /// Shows how much of the log is not admitted here.
    pub(super) fn show_parked(&self) {
        for kind in Kind::ALL {
            let parked = i64::try_from(self.holdings.parked(kind)).unwrap_or(i64::MAX);
            self.intake.metrics.refused_files.with_label_values(&[kind.as_str()]).set(parked);
        }
    }

    pub(super) fn want(&self) -> Want {
        self.course.want()
    }
}

/// Whether something led further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Some,
    Nothing,
}
