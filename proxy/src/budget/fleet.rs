//! The thread that has budgets handed out by a control plane, where several gateways share them.
//!
//! A cell is asked for ahead of need, one request at a time, and its answers are waited for here, never on the data path. While
//! no control plane answers, cells spend what they hold and no more. When the gateway stops, what nobody spent is given back.
//!
//! Never writes to the disk, and never decides how much: that is the control plane's.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use policy_sync::lease::{LeaseAnswer, LeaseRequest};
use policy_sync::transport::{Link, TransportFault};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::account::Heard;
use super::desk::Desk;
use super::lease::SharedCell;

/// How long an answer is waited for before the request is sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a budget rests whose request failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long control planes have to be silent before sessions are no longer kept waiting for them.
const DOWN_AFTER: Duration = Duration::from_secs(5);
/// How long that is believed without having tried again.
const DOWN_FOR: Duration = Duration::from_secs(1);
/// How many requests may be under way at once.
const AT_ONCE: usize = 64;
/// How long a gateway that stops takes for giving back.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who hands out parts of budgets.
pub trait Grants: Send + Sync + 'static {
    /// Asks for a part, or gives some back.
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>>;
}

impl Grants for Arc<dyn Link> {
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        self.as_ref().lease(request)
    }
}

/// The budgets that want something of a control plane, and how that goes.
pub(super) struct Fleet {
    grants: OnceLock<Arc<dyn Grants>>,
    desk: Arc<Desk>,
    queue: Mutex<Queue>,
    asked: Notify,
    health: Mutex<Health>,
    metrics: FleetMetrics,
}

#[derive(Default)]
struct Queue {
    cells: Vec<Arc<SharedCell>>,
    closing: bool,
}

/// What became of an errand.
enum Errand {
    /// There was none, or one is under way.
    None,
    /// It was answered.
    Done,
    /// Nobody answered; the cell still counts it as under way.
    Failed,
}

/// Since when requests have been failing, and when the last one did.
#[derive(Default)]
struct Health {
    failing: Option<(Instant, Instant)>,
}

/// What is counted of the requests.
#[derive(Debug, Clone)]
struct FleetMetrics {
    draws: IntCounterVec,
    granted: IntCounter,
    returned: IntCounter,
    seconds: Histogram,
}

impl Fleet {
    pub(super) fn new(desk: Arc<Desk>, registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            grants: OnceLock::new(),
            desk,
            queue: Mutex::default(),
            asked: Notify::new(),
            health: Mutex::default(),
            metrics: FleetMetrics::register(registry)?,
        })
    }

    /// From now on parts are drawn from here; only the first call counts.
    pub(super) fn draw_from(&self, grants: Arc<dyn Grants>) {
        drop(self.grants.set(grants));
        self.asked.notify_one();
    }

    /// Starts the thread.
    pub(super) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let fleet = Arc::clone(self);
        thread::Builder::new().name("fleet-budgets".into()).spawn(move || runtime.block_on(fleet.run()))
    }

    /// Has the errands of this cell done.
    pub(super) fn ask(&self, cell: &Arc<SharedCell>) {
        self.lock_queue().cells.push(Arc::clone(cell));
        self.asked.notify_one();
    }

    /// Has the thread end when the errands it knows of are done, or some seconds are over.
    pub(super) fn close(&self) {
        self.lock_queue().closing = true;
        self.asked.notify_one();
    }

    /// Whether control planes have been silent for so long that there is no point in waiting.
    pub(super) fn is_down(&self) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.failing.is_some_and(|(since, last)| since.elapsed() >= DOWN_AFTER && last.elapsed() < DOWN_FOR)
    }

    async fn run(self: Arc<Self>) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut errands = JoinSet::new();
        loop {
            self.asked.notified().await;
            let (cells, closing) = {
                let mut queue = self.lock_queue();
                (std::mem::take(&mut queue.cells), queue.closing)
            };
            for cell in cells {
                let (fleet, room) = (Arc::clone(&self), Arc::clone(&room));
                errands.spawn(async move {
                    let _room = room.acquire_owned().await;
                    fleet.run_errands(cell, closing).await;
                });
            }
            while errands.try_join_next().is_some() {}
            if closing {
                let all = async { while errands.join_next().await.is_some() {} };
                if tokio::time::timeout(FAREWELL, all).await.is_err() {
                    tracing::warn!("not everything that is left of upload budgets could be given back");
                }
                return;
            }
        }
    }

    async fn run_errands(&self, cell: Arc<SharedCell>, closing: bool) {
        loop {
            match self.run_errand(&cell).await {
                Errand::None if closing => tokio::time::sleep(RETRY_AFTER / 10).await,
                Errand::None | Errand::Done => {}
                Errand::Failed => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    cell.unanswered();
                }
            }
            if !closing || cell.is_settled() {
                return;
            }
        }
    }

    /// Sends the next request of the cell, if there is any, and takes over the answer.
    async fn run_errand(&self, cell: &Arc<SharedCell>) -> Errand {
        let Some(request) = cell.next_request() else { return Errand::None };
        let began = Instant::now();
        let answer = match self.grants.get() {
            Some(grants) => tokio::time::timeout(ANSWER_WITHIN, grants.lease(request.clone())).await,
            None => Ok(Err(TransportFault("not connected yet".into()))),
        };
        match answer.unwrap_or_else(|_| Err(TransportFault("no answer in time".into()))) {
            Ok(answer) => {
                self.metrics.seconds.observe(began.elapsed().as_secs_f64());
                self.recovered();
                let (heard, returned) = cell.answered(&request, &answer);
                self.metrics.note(&request, heard, returned);
                if matches!(heard, Heard::More(_)) {
                    // What was handed out is to be written down before it is spent.
                    self.desk.ask(cell);
                }
                Errand::Done
            }
            Err(fault) => {
                self.failed(&fault);
                Errand::Failed
            }
        }
    }

    /// The cells that wait for their errands; for those that run them without the thread.
    #[cfg(test)]
    pub(super) async fn run_waiting_errands(&self) {
        let cells = std::mem::take(&mut self.lock_queue().cells);
        for cell in cells {
            if matches!(self.run_errand(&cell).await, Errand::Failed) {
                cell.unanswered();
            }
        }
    }

    fn recovered(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.failing.take().is_some() {
            tracing::info!("parts of upload budgets are handed out again");
        }
    }

    fn failed(&self, fault: &TransportFault) {
        self.metrics.draws.with_label_values(&["failed"]).inc();
        let now = Instant::now();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.failing.is_none() {
            tracing::warn!(%fault, "no parts of upload budgets are handed out; sessions spend what is held");
        }
        let since = health.failing.map_or(now, |(since, _)| since);
        health.failing = Some((since, now));
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl FleetMetrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            draws: IntCounterVec::new(
                Opts::new(
                    "portcullis_budget_draws_total",
                    "Requests to a control plane for parts of shared upload budgets, by outcome.",
                ),
                &["outcome"],
            )?,
            granted: IntCounter::new(
                "portcullis_budget_granted_bytes_total",
                "Bytes of shared upload budgets that were handed out to this gateway.",
            )?,
            returned: IntCounter::new(
                "portcullis_budget_returned_bytes_total",
                "Bytes of shared upload budgets that this gateway gave back unspent.",
            )?,
            seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_budget_draw_seconds",
                    "Time until a control plane answered for a shared upload budget.",
                )
                .buckets(crate::metrics::SECONDS.to_vec()),
            )?,
        };
        registry.register(Box::new(metrics.draws.clone()))?;
        registry.register(Box::new(metrics.granted.clone()))?;
        registry.register(Box::new(metrics.returned.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }

    fn note(&self, request: &LeaseRequest, heard: Heard, returned: u64) {
        self.returned.inc_by(returned);
        let outcome = match heard {
            Heard::More(bytes) => {
                self.granted.inc_by(bytes);
                "granted"
            }
            Heard::BegunAnew => "unknown",
            Heard::Nothing | Heard::Spent if request.want == 0 => "returned",
            Heard::Nothing => "repeated",
            Heard::Spent => "spent",
        };
        self.draws.with_label_values(&[outcome]).inc();
    }
}
