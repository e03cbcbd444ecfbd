//! The thread that follows: one loop that connects, listens, fetches, and reports.
//!
//! Frames come first: whatever else is going on is cut into slices, and between two of them everything that has arrived is
//! enforced. A connection that is lost is made again for ever; what was missed meanwhile is asked for.

mod resync;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use audit::{Event, EventType};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::course::Want;
use super::errand::{self, Brought, Errand};
use super::keeper::Keeper;
use super::proof::Reproved;
use super::receipts::Receipts;
use super::refusal::Refusal;
use super::replica::{Progress, Replica};
use super::{Orders, Sessions};
use crate::source::kept::Kept;
use crate::transport::{Enforced, Frame, Link, TransportFault};
use resync::Resync;

/// How many frames may wait; more are asked for again as records.
const FRAMES: usize = 1024;
/// How many frames are taken between two looks at everything else.
const FRAMES_AT_ONCE: usize = 256;
/// How many entries of a snapshot, or envelopes under new keys, are taken between two looks at the frames.
const SLICE: usize = 64;
/// How many files may wait to be written before a snapshot waits for the disk.
const BACKLOG: usize = 4096;
/// How many envelopes are looked at again at a time.
const RECONSIDERED: usize = 256;
/// How long looking again waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often this gateway reports.
const REPORT: Duration = Duration::from_secs(1);
/// A connection over which nothing new was heard for so long is given up.
const SILENT: Duration = Duration::from_secs(10);
/// Catching up spends at most about this share of its time on publishing.
const PUBLISH_SHARE: u32 = 10;

struct Heard {
    frame: Frame,
    at: Instant,
}

pub(super) struct Runner {
    replica: Replica,
    keeper: Keeper,
    kept: Kept,
    receipts: Receipts,
    link: Arc<dyn Link>,
    version: String,
    sessions: Sessions,
    frames: mpsc::Receiver<Heard>,
    sender: mpsc::Sender<Heard>,
    overflowed: Arc<AtomicBool>,
    connection: Option<BoxFuture<'static, TransportFault>>,
    connected: Instant,
    connect_at: tokio::time::Instant,
    connecting: Backoff,
    errand: Option<Errand>,
    errand_at: tokio::time::Instant,
    fetching: Backoff,
    resync: Option<Resync>,
    reconsider: Vec<[u8; 32]>,
    /// How long that waits for what is kept to be on the disk.
    patient_until: Instant,
    /// What was proved anew and waits for its slice.
    proved: VecDeque<Reproved>,
    published: (Instant, Duration),
    up: Option<bool>,
}

/// Why the loop woke up.
enum Wake {
    Orders(Result<(), watch::error::RecvError>),
    Heard(Option<Heard>),
    Kept,
    Brought(Brought),
    Lost(TransportFault),
    Connect,
    Errand,
    Slice,
    Tick,
}

impl Runner {
    pub(super) fn new(
        mut replica: Replica,
        (keeper, kept): (Keeper, Kept),
        receipts: Receipts,
        link: Arc<dyn Link>,
        (version, sessions): (String, Sessions),
    ) -> Self {
        let (sender, frames) = mpsc::channel(FRAMES);
        let now = tokio::time::Instant::now();
        let reconsider = replica.holdings.all_parked();
        replica.remember_at(keeper.desk().clone());
        Self {
            replica,
            keeper,
            kept,
            receipts,
            link,
            version,
            sessions,
            frames,
            sender,
            overflowed: Arc::default(),
            connection: None,
            connected: Instant::now(),
            connect_at: now,
            connecting: Backoff::default(),
            errand: None,
            errand_at: now,
            fetching: Backoff::default(),
            resync: None,
            reconsider,
            patient_until: Instant::now() + PATIENCE,
            proved: VecDeque::new(),
            published: (Instant::now(), Duration::ZERO),
            up: None,
        }
    }

    /// Follows until the source is dropped.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Orders>) {
        let mut ticks = tokio::time::interval(REPORT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            self.next_errand();
            let slicing = self.has_slices();
            let wake = tokio::select! {
                changed = orders.changed() => Wake::Orders(changed),
                heard = self.frames.recv() => Wake::Heard(heard),
                () = self.keeper.changed() => Wake::Kept,
                brought = present(&mut self.errand) => Wake::Brought(brought),
                fault = present(&mut self.connection) => Wake::Lost(fault),
                () = tokio::time::sleep_until(self.connect_at), if self.connection.is_none() => Wake::Connect,
                () = tokio::time::sleep_until(self.errand_at), if self.errand_due() => Wake::Errand,
                () = tokio::task::yield_now(), if slicing => Wake::Slice,
                _ = ticks.tick() => Wake::Tick,
            };
            match wake {
                Wake::Orders(changed) => {
                    let order = orders.borrow_and_update().clone();
                    if changed.is_err() || matches!(order, Orders::Stop) {
                        break;
                    }
                    self.obey(order);
                }
                Wake::Heard(heard) => {
                    self.hear(heard);
                    // However many frames come, the rest goes on too.
                    if slicing {
                        self.slice();
                    }
                }
                Wake::Kept => self.settle(),
                Wake::Brought(brought) => {
                    self.errand = None;
                    self.take(brought);
                }
                Wake::Lost(fault) => self.lose(&fault),
                Wake::Connect => self.attach(),
                Wake::Errand => {}
                Wake::Slice => self.slice(),
                Wake::Tick => self.tick(),
            }
            self.account();
        }
        let writing = self.replica.intake.close();
        self.keeper.desk().put(writing);
    }

    fn hear(&mut self, first: Option<Heard>) {
        let mut next = first;
        for _ in 0..FRAMES_AT_ONCE {
            let Some(Heard { frame, at }) = next else { break };
            self.replica.take(&frame, at);
            next = self.frames.try_recv().ok();
        }
        if let Some(Heard { frame, at }) = next {
            self.replica.take(&frame, at);
        }
        if self.overflowed.swap(false, Ordering::AcqRel) {
            self.replica.refusals.note(Refusal::Overflow, "frames");
            self.replica.course.wants(Want::Records);
        }
        if self.replica.alive() > self.connected {
            self.connecting.reset();
            self.note_source(None);
        }
    }

    /// Hands over what has to be written, and notes what may be reported once it is.
    fn account(&mut self) {
        let (writing, reached, enforced) = self.replica.account();
        let ticket = self.keeper.desk().put(writing);
        self.receipts.add(ticket, reached, enforced);
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(enforced) = self.receipts.settle(self.keeper.kept(), Instant::now()) {
            self.report(enforced);
        }
    }

    fn report(&self, enforced: Vec<Enforced>) {
        let age = self.replica.intake.feed().age();
        self.link.report(self.receipts.report(&self.version, (self.sessions)(), age, enforced));
    }

    fn attach(&mut self) {
        let age = self.replica.intake.feed().age();
        let enforced = self.receipts.repeated(Instant::now());
        let hello = self.receipts.report(&self.version, (self.sessions)(), age, enforced);
        let (link, sender, overflowed) = (self.link.clone(), self.sender.clone(), self.overflowed.clone());
        self.connection = Some(Box::pin(async move {
            let each = move |frame| {
                if sender.try_send(Heard { frame, at: Instant::now() }).is_err() {
                    overflowed.store(true, Ordering::Release);
                }
            };
            link.follow(hello, Box::new(each)).await
        }));
        self.connected = Instant::now();
        // Whatever was said before is not said again.
        self.replica.course.wants(Want::Records);
        self.fetching.reset();
        self.errand_at = tokio::time::Instant::now();
    }

    fn lose(&mut self, fault: &TransportFault) {
        self.connection = None;
        self.connect_at = tokio::time::Instant::now() + self.connecting.next();
        self.note_source(Some(fault));
    }

    fn note_source(&mut self, fault: Option<&TransportFault>) {
        if let Some(fault) = fault.filter(|_| self.up != Some(false)) {
            tracing::error!(%fault, "the control plane is not heard; the last policy stays");
            self.replica.intake.recorder().record(Event::new(EventType::PolicySourceFault).detail(fault));
        } else if fault.is_none() && self.up == Some(false) {
            tracing::info!("the control plane is heard again");
        }
        self.up = Some(fault.is_none());
        self.replica.intake.metrics.source_up.set(i64::from(fault.is_none()));
    }

    fn tick(&mut self) {
        let silent = self.replica.alive().max(self.connected).elapsed();
        if self.connection.is_some() && silent > SILENT {
            self.lose(&TransportFault(format!("nothing new was heard for {} s", silent.as_secs())));
        }
        if self.reconsider.is_empty() {
            self.reconsider = self.replica.holdings.waiting();
        }
        self.replica.show_parked();
        let repeated = self.receipts.repeated(Instant::now());
        self.report(repeated);
    }

    fn obey(&mut self, orders: Orders) {
        let Orders::Rebind(rebind) = orders else { return };
        let (authorities, bounds) = *rebind;
        self.replica.rebound(authorities, bounds);
        // What is on its way was proved under the old keys.
        (self.errand, self.resync) = (None, None);
        self.proved.clear();
        self.reconsider = self.replica.holdings.depending_on_keys();
        self.patient_until = Instant::now() + PATIENCE;
        self.replica.course.wants(Want::Records);
    }

    /// Whether an errand could be begun as soon as its time has come.
    fn errand_due(&self) -> bool {
        self.errand.is_none()
            && !self.has_slices()
            && (!self.reconsider.is_empty() || self.resync.is_some() || self.replica.want() != Want::Nothing)
            && self.errand_at > tokio::time::Instant::now()
    }

    fn has_slices(&self) -> bool {
        let taking = matches!(&self.resync, Some(Resync::Taking { slices, .. }) if !slices.is_empty());
        taking || !self.proved.is_empty()
    }

    fn next_errand(&mut self) {
        if self.errand.is_some() || self.has_slices() || self.keeper.backlog() > BACKLOG {
            return;
        }
        let authorities = self.replica.authorities();
        if !self.reconsider.is_empty() {
            // What is kept has to be there before it can be read; but keys that no longer count do not wait for a broken disk.
            if self.receipts.is_settled() || Instant::now() > self.patient_until {
                let rest = self.reconsider.len().saturating_sub(RECONSIDERED);
                let digests = self.reconsider.split_off(rest);
                self.errand = Some(errand::kept(self.kept.clone(), digests, authorities));
            }
            return;
        }
        if self.errand_at > tokio::time::Instant::now() {
            return;
        }
        let link = self.link.clone();
        self.errand = match &self.resync {
            Some(Resync::Fetching { head, next }) => head
                .chunks
                .get(*next)
                .map(|digest| errand::chunk(link, self.kept.clone(), *digest, authorities)),
            Some(Resync::Taking { head, next, .. }) => {
                head.chunks.get(*next).map(|digest| errand::entries(self.kept.clone(), *digest, authorities))
            }
            None if self.connection.is_none() => None,
            None => match (self.replica.want(), self.replica.course.position()) {
                (Want::Nothing, _) => None,
                (Want::Records, Some(after)) => Some(errand::records(link, after, authorities)),
                (Want::Records, None) | (Want::Snapshot, _) => Some(errand::head(link)),
            },
        };
    }

    fn take(&mut self, brought: Brought) {
        match brought {
            Brought::Records(Ok(records)) => {
                let progress = self.replica.take_fetched(records, Instant::now());
                self.went(progress);
            }
            Brought::Head(Ok(Some(head))) => self.take_head(&head),
            Brought::Head(Ok(None)) => {
                self.replica.go_without_snapshot();
                self.went(Progress::Nothing);
            }
            Brought::Records(Err(fault)) | Brought::Head(Err(fault)) => {
                tracing::debug!(%fault, "the control plane does not answer");
                self.went(Progress::Nothing);
            }
            Brought::Chunk(Ok(revocations)) => self.take_chunk(revocations),
            Brought::Entries(Ok(entries)) => self.take_entries(entries),
            Brought::Chunk(Err(fault)) | Brought::Entries(Err(fault)) => self.give_up(&fault),
            Brought::Kept(proved) => self.proved.extend(proved),
        }
    }

    fn went(&mut self, progress: Progress) {
        let now = tokio::time::Instant::now();
        match progress {
            Progress::Some => {
                self.fetching.reset();
                self.errand_at = now;
            }
            Progress::Nothing => self.errand_at = now + self.fetching.next(),
        }
    }

    /// Takes a slice of what waits to be put in force.
    fn slice(&mut self) {
        for _ in 0..SLICE {
            let Some((digest, envelope)) = self.proved.pop_front() else { break };
            self.replica.holdings.reconsider(&mut self.replica.intake, &digest, envelope);
        }
        if let Some(Resync::Taking { named, slices, .. }) = &mut self.resync {
            let most = slices.len().min(SLICE);
            self.replica.take_entries(slices.drain(..most), named);
        }
        self.publish_in_time(!self.has_slices());
        self.advance_resync();
    }

    /// Publishes what was taken while catching up, unless that was done a moment ago and more is to come.
    fn publish_in_time(&mut self, last: bool) {
        let (at, took) = self.published;
        if last || at.elapsed() > took * PUBLISH_SHARE {
            let began = Instant::now();
            self.replica.publish(began);
            self.published = (Instant::now(), began.elapsed());
        }
    }
}

/// Waits for a future that may not be there.
async fn present<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
