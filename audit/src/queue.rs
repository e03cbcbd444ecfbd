//! The bounded hand-over between everybody who records and the one thread that writes.
//!
//! Time and sequence are stamped under the same short lock that queues the event, so the order in the file is the
//! order of the numbers. A full queue never makes a caller wait: the event is counted as lost, its number is used
//! up, and the next batch carries the record that explains the gap.
//!
//! The first event after a quiet moment is handed over at once. While more keep coming they gather for [`GATHER`], so
//! that a busy gateway wakes its writer for many events together and not for each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::event::{Event, EventType};

/// How long events gather after a batch was taken. Nothing else waits: not a flush, not the end, not a queue half full.
const GATHER: Duration = Duration::from_millis(5);

/// An event with its time and number.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) event: Event,
}

/// What the writer finds when it wakes up.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) batch: Vec<Stamped>,
    /// How many lost events the gap records of the batch explain.
    pub(crate) explained: u64,
    /// Everything up to this number is in the batch or in one before it.
    pub(crate) up_to: u64,
    pub(crate) reopen: bool,
    pub(crate) sync: bool,
    pub(crate) closed: bool,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    progressed: Condvar,
    capacity: usize,
    failing: AtomicBool,
    unexplained: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Stamped>,
    last_sequence: u64,
    /// Lost events for which no gap record is queued yet, and those whose record is queued.
    lost: u64,
    explained: u64,
    durable: u64,
    reopen: bool,
    sync: bool,
    closed: bool,
    ended: bool,
    /// The writer waits for the first event.
    asleep: bool,
    /// When the last batch was taken.
    taken: Option<Instant>,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            progressed: Condvar::new(),
            capacity: capacity.max(1),
            failing: AtomicBool::new(false),
            unexplained: AtomicU64::new(0),
        }
    }

    /// Stamps and queues the event; false when there was no room for it.
    pub(crate) fn push(&self, event: Event) -> bool {
        let mut state = self.lock();
        state.last_sequence += 1;
        if state.closed || state.waiting.len() >= self.capacity {
            state.lost += 1;
            self.unexplained.fetch_add(1, Ordering::Release);
            return false;
        }
        state.append(event);
        let wanted = std::mem::take(&mut state.asleep) || state.waiting.len() == self.half();
        // Whoever is woken first waits for this lock.
        drop(state);
        if wanted {
            self.arrived.notify_one();
        }
        true
    }

    /// Queues what the writer itself has to say, for which there is always room.
    pub(crate) fn push_own(&self, event: Event) {
        let mut state = self.lock();
        state.explain_gap();
        state.last_sequence += 1;
        state.append(event);
        self.arrived.notify_one();
    }

    /// Waits for something to do and takes all of it.
    pub(crate) fn take(&self) -> Work {
        let mut state = self.lock();
        while state.is_quiet() {
            state.asleep = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        self.gathered(state).take()
    }

    /// Waits for company, if the last batch was taken a moment ago.
    fn gathered<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(until) = state.taken.and_then(|taken| taken.checked_add(GATHER)) else { return state };
        while !state.is_urgent() && state.waiting.len() < self.half() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// So many waiting events wait for no more.
    fn half(&self) -> usize {
        self.capacity.div_ceil(2)
    }

    /// Waits out a back-off, or less when a reopening or the end is asked for meanwhile. Says which.
    pub(crate) fn pause(&self, back_off: Duration) -> Work {
        let deadline = Instant::now() + back_off;
        let mut state = self.lock();
        while !state.reopen && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Work { reopen: std::mem::take(&mut state.reopen), closed: state.closed, ..Work::default() }
    }

    /// The writer's word that this work is in its sink, and on the disk when `durable`.
    pub(crate) fn settle(&self, work: &Work, durable: bool) {
        self.unexplained.fetch_sub(work.explained, Ordering::Release);
        if durable {
            self.lock().durable = work.up_to;
        }
        self.progressed.notify_all();
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Release);
    }

    pub(crate) fn healthy(&self) -> bool {
        !self.failing.load(Ordering::Acquire) && self.unexplained.load(Ordering::Acquire) == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(crate) fn ask_to_reopen(&self) {
        self.lock().reopen = true;
        self.arrived.notify_one();
    }

    /// Waits until everything recorded before this call is durable; false when the bound passes first.
    pub(crate) fn wait_durable(&self, bound: Duration) -> bool {
        let deadline = Instant::now() + bound;
        let mut state = self.lock();
        let wanted = state.last_sequence;
        if state.durable >= wanted {
            return true;
        }
        state.sync = true;
        self.arrived.notify_one();
        self.wait_for(state, deadline, |state| state.durable >= wanted || state.ended).durable >= wanted
    }

    /// No more events; waits a bounded time for the writer to end.
    pub(crate) fn close(&self, bound: Duration) {
        let deadline = Instant::now() + bound;
        let mut state = self.lock();
        state.closed = true;
        state.sync = true;
        self.arrived.notify_one();
        drop(self.wait_for(state, deadline, |state| state.ended));
    }

    /// The writer's last word.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ended = true;
        self.progressed.notify_all();
    }

    fn wait_for<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.progressed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && !self.is_urgent()
    }

    fn is_urgent(&self) -> bool {
        self.lost > 0 || self.reopen || self.sync || self.closed
    }

    fn append(&mut self, event: Event) {
        self.waiting.push(Stamped { at: Timestamp::now(), sequence: self.last_sequence, event });
    }

    fn explain_gap(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.explained += lost;
            self.last_sequence += 1;
            self.append(Event::new(EventType::AuditGap).lost(lost));
        }
    }

    fn take(&mut self) -> Work {
        self.explain_gap();
        self.taken = Some(Instant::now());
        Work {
            batch: std::mem::take(&mut self.waiting),
            explained: std::mem::take(&mut self.explained),
            up_to: self.last_sequence,
            reopen: std::mem::take(&mut self.reopen),
            sync: std::mem::take(&mut self.sync),
            closed: self.closed,
        }
    }
}
