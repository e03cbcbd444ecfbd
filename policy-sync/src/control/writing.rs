//! The one task that writes to the log, and that follows what other control planes write.
//!
//! Everything that waits is sealed and written down together, so that one commit serves many. What two entries have in common is
//! judged again in the order of the log. When another plane was first, it is followed, and what waits is judged anew. A revocation
//! that went out is never given up: it is written down as soon as that works again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::fault::{PlaneFault, SubmitFault};
use super::meaning::Meaning;
use super::plane::Written;
use super::state::{Place, Verdict};
use super::submission::{Inner, Wish};
use super::telling;
use crate::keys::KeyRing;
use crate::log::{Entry, LogFault, Position, Record, Sealed};
use crate::transport::{AppendFault, Frame, TransportFault};

/// How many records are written down together.
const TOGETHER: usize = 256;
/// How many records are read at a time.
const PAGE: usize = 500;
/// How often writing is tried while other control planes are first.
const TRIES: usize = 64;
/// How often writing down what is owed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Something to write down.
pub(super) struct Ask {
    pub(super) meaning: Meaning,
    pub(super) entry: Entry,
    pub(super) by: Arc<str>,
    /// Whether gateways may enforce it already.
    pub(super) hinted: bool,
    /// Where the answer goes; `None` when nobody waits any more.
    pub(super) answer: Option<oneshot::Sender<Result<Written, SubmitFault>>>,
}

impl Ask {
    fn answer(&mut self, outcome: Result<Written, SubmitFault>) {
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone away.
            drop(answer.send(outcome));
        }
    }

    /// The wish behind a revocation, with its moment and without.
    fn wishes(&self) -> Vec<Wish> {
        let Meaning::Revocation(revocation) = &self.meaning else { return Vec::new() };
        let (target, reason) = (revocation.target.clone(), revocation.reason.to_string());
        let timed = Wish { target, reason, timestamp: Some(revocation.timestamp) };
        vec![Wish { timestamp: None, ..timed.clone() }, timed]
    }
}

/// Writes and follows until it is aborted.
pub(super) async fn run(inner: Arc<Inner>, mut asked: mpsc::Receiver<Ask>) {
    let mut writer = Writer { inner, owed: VecDeque::new(), uncertain: false };
    loop {
        let after = writer.inner.state().position().sequence;
        let again = !writer.owed.is_empty() || writer.uncertain;
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            count = asked.recv_many(&mut batch, TOGETHER) => {
                if count == 0 {
                    return;
                }
                writer.write(batch.into()).await;
            }
            () = writer.inner.transport.grown(after) => writer.catch_up().await,
            () = tokio::time::sleep(AGAIN), if again => writer.retry().await,
        }
    }
}

struct Writer {
    inner: Arc<Inner>,
    /// Revocations that went out and are not written down.
    owed: VecDeque<Ask>,
    /// Whether the end of the log may be another than is known here.
    uncertain: bool,
}

impl Writer {
    async fn write(&mut self, mut waiting: VecDeque<Ask>) {
        for _ in 0..TRIES {
            if self.uncertain
                && let Err(fault) = self.follow().await
            {
                return self.give_up(waiting, &fault.to_string());
            }
            while !waiting.is_empty() {
                let (mut batch, sealed) = match self.seal(&mut waiting) {
                    Ok(sealed) => sealed,
                    Err(fault) => return self.give_up(waiting, &fault.to_string()),
                };
                if sealed.is_empty() {
                    continue;
                }
                let began = Instant::now();
                match self.inner.transport.append_all(&sealed).await {
                    Ok(()) => {
                        self.inner.metrics.append_seconds.observe(began.elapsed().as_secs_f64());
                        self.written(batch, &sealed);
                    }
                    Err(AppendFault::Taken) => {
                        self.inner.metrics.append_conflicts.inc();
                        self.uncertain = true;
                        batch.extend(waiting.drain(..));
                        waiting = batch;
                        break;
                    }
                    Err(AppendFault::Transport(fault)) => {
                        self.uncertain = true;
                        batch.extend(waiting.drain(..));
                        return self.give_up(batch, &fault.to_string());
                    }
                }
            }
            if waiting.is_empty() {
                return self.inner.set_trouble(None);
            }
        }
        self.give_up(waiting, "other control planes are always first");
    }

    /// Takes from what waits as much as goes together, and seals it behind the end of the log. What does nothing any more is
    /// answered at once.
    fn seal(&self, waiting: &mut VecDeque<Ask>) -> Result<(VecDeque<Ask>, Vec<Sealed>), LogFault> {
        let state = self.inner.state();
        let (mut end, now) = (state.position(), Timestamp::now());
        let (mut batch, mut sealed, mut touched) = (VecDeque::new(), Vec::new(), HashSet::new());
        while let Some(ask) = waiting.front() {
            let subjects = ask.meaning.subjects();
            if subjects.iter().any(|subject| touched.contains(subject)) {
                break;
            }
            let verdict = state.judge(&ask.meaning, now.as_second());
            let record = match &verdict {
                Ok(Verdict::New) => {
                    Some(Record::seal(&end, &ask.entry, &ask.by, now, &self.inner.keys.control)?)
                }
                Ok(Verdict::Known(_)) | Err(_) => None,
            };
            let Some(mut ask) = waiting.pop_front() else { break };
            match (record, verdict) {
                (Some(record), _) => {
                    touched.extend(subjects);
                    end = record.position;
                    sealed.push(record);
                    batch.push_back(ask);
                }
                (None, Ok(Verdict::Known(sequence))) => {
                    ask.answer(Ok(Written { epoch: end.epoch, sequence, repeated: true }));
                }
                (None, Ok(Verdict::New)) => {}
                (None, Err(fault)) => ask.answer(Err(fault)),
            }
        }
        Ok((batch, sealed))
    }

    fn written(&mut self, batch: VecDeque<Ask>, sealed: &[Sealed]) {
        for record in sealed {
            self.inner.transport.broadcast(Frame::Record(record.envelope.clone()));
        }
        let mut answers = Vec::new();
        {
            let (mut state, now) = (self.inner.state(), Timestamp::now());
            for (mut ask, record) in batch.into_iter().zip(sealed) {
                let (epoch, sequence) = (record.position.epoch, record.position.sequence);
                let at = Record::read_own(&record.envelope).map_or(now, |record| record.at);
                self.inner.metrics.records.with_label_values(&[ask.meaning.kind()]).inc();
                telling::written(&self.inner.recorder, &ask.meaning, sequence, &ask.by);
                if let Meaning::Revocation(revocation) = &ask.meaning {
                    self.inner.gateways.placed(revocation.id, epoch, sequence);
                }
                if ask.hinted {
                    let mut owed = self.inner.owed();
                    ask.wishes().iter().for_each(|wish| drop(owed.remove(wish)));
                }
                state.apply(ask.meaning, Place { sequence, at, by: &ask.by, chunk: None });
                state.advance(record.position);
                answers.push((ask.answer.take(), Written { epoch, sequence, repeated: false }));
            }
        }
        self.tell_of_growth();
        for (answer, written) in answers {
            if let Some(answer) = answer {
                drop(answer.send(Ok(written)));
            }
        }
    }

    /// Answers that it is not written down; keeps what gateways may enforce already, to be written down later.
    fn give_up(&mut self, waiting: VecDeque<Ask>, why: &str) {
        self.inner.metrics.append_faults.inc();
        self.inner.set_trouble(Some(why.to_owned()));
        for mut ask in waiting {
            ask.answer(Err(SubmitFault::NotDurable(TransportFault(why.to_owned()))));
            if ask.hinted {
                if let Entry::Revocation(envelope) = &ask.entry {
                    let mut owed = self.inner.owed();
                    for wish in ask.wishes() {
                        owed.insert(wish, envelope.clone());
                    }
                }
                self.owed.push_back(ask);
            }
        }
    }

    async fn retry(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        self.write(owed).await;
    }

    async fn catch_up(&mut self) {
        match self.follow().await {
            Ok(()) if self.owed.is_empty() => self.inner.set_trouble(None),
            // It can be read again, but whether it can be written, only the next try shows.
            Ok(()) => {}
            Err(fault) => {
                self.inner.set_trouble(Some(fault.to_string()));
                self.uncertain = true;
                // `grown` returns at once while the log has grown; a log that cannot be followed is not asked for without end.
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Takes over what other control planes wrote.
    async fn follow(&mut self) -> Result<(), PlaneFault> {
        loop {
            let mut end = self.inner.state().position();
            let page = self.inner.transport.read(end.sequence, PAGE).await?;
            if page.is_empty() {
                break;
            }
            let ring = self.inner.authorities.load().ring.clone();
            for envelope in page {
                let record = next_record(&envelope, &ring, &end)?;
                end = record.position;
                self.take_over(record);
            }
            self.tell_of_growth();
        }
        self.uncertain = false;
        Ok(())
    }

    fn take_over(&self, record: Record) {
        let Record { position, at, by, entry, .. } = record;
        let mut state = self.inner.state();
        match Meaning::read(&entry, at.as_second()) {
            Ok(meaning) => {
                if let Meaning::Revocation(revocation) = &meaning {
                    self.inner.gateways.placed(revocation.id, position.epoch, position.sequence);
                }
                let place = Place { sequence: position.sequence, at, by: &by, chunk: None };
                state.apply(meaning, place);
            }
            Err(fault) => tracing::warn!(%position, fault, "a record says nothing that can be understood"),
        }
        state.advance(position);
    }

    fn tell_of_growth(&self) {
        let position = self.inner.state().position();
        self.inner.changes.send_replace(position);
        self.inner.measure();
    }
}

/// Verifies a record of the log that is to follow `position`.
pub(super) fn next_record(
    envelope: &[u8],
    ring: &KeyRing,
    position: &Position,
) -> Result<Record, PlaneFault> {
    let record = Record::open(envelope, ring);
    let record = record.map_err(|fault| PlaneFault::Damaged { after: *position, fault })?;
    if record.follows(position) { Ok(record) } else { Err(PlaneFault::Bent { after: *position }) }
}
