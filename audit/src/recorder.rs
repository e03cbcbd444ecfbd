//! What the rest of the program holds in order to record events.
//!
//! Recording never waits, neither for a lock that is held for long nor for a disk: it queues the event for a thread
//! of its own. A recorder that cannot keep up or cannot write says so through [`Recorder::healthy`], which is what
//! the gateway looks at before it lets a session through.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use prometheus::Registry;

use crate::event::Event;
use crate::metrics::AuditMetrics;
use crate::queue::Queue;
use crate::sink::{Outlet, Sink};
use crate::writer::Writer;

/// How long the last clone waits for the writer when it is dropped.
const CLOSING_BOUND: Duration = Duration::from_secs(2);

/// How to open a recorder.
#[derive(Debug, Clone)]
pub struct RecorderOptions {
    /// The gateway's name, written into every event.
    pub gateway: String,
    /// Where the lines go.
    pub sink: Sink,
    /// How many events may wait to be written; more are lost, and counted.
    pub queue: usize,
}

impl RecorderOptions {
    /// Options with a queue of 65536 events.
    #[must_use]
    pub fn new(gateway: impl Into<String>, sink: Sink) -> Self {
        Self { gateway: gateway.into(), sink, queue: 65_536 }
    }
}

/// Records events. Clones share one queue, one thread and one file; the last one to go writes what is left.
#[derive(Debug, Clone)]
pub struct Recorder {
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    queue: Arc<Queue>,
    metrics: AuditMetrics,
}

impl Recorder {
    /// Opens the sink and starts the writing thread.
    ///
    /// # Errors
    /// When the file cannot be opened or repaired, the metrics are already registered, or no thread can be started.
    pub fn open(options: RecorderOptions, registry: &Registry) -> Result<Self, AuditFault> {
        let metrics = AuditMetrics::register(registry)?;
        let place = format!("{:?}", options.sink);
        let (outlet, torn) = options.sink.open().map_err(|source| AuditFault::Open { place, source })?;
        Self::start(options.gateway, outlet, torn, options.queue, metrics)
    }

    pub(crate) fn start(
        gateway: String,
        outlet: Box<dyn Outlet>,
        torn: u64,
        capacity: usize,
        metrics: AuditMetrics,
    ) -> Result<Self, AuditFault> {
        let queue = Arc::new(Queue::new(capacity));
        let writer = Writer { queue: queue.clone(), outlet, gateway, metrics: metrics.clone() };
        writer.repaired(torn);
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(|source| AuditFault::Thread { source })?;
        Ok(Self { open: Arc::new(Open { queue, metrics }) })
    }

    /// Stamps the event and queues it. Never waits; an event for which there is no room is counted as lost.
    pub fn record(&self, event: Event) {
        if !self.open.queue.push(event) {
            self.open.metrics.lost.inc();
            self.open.metrics.healthy.set(0);
        }
    }

    /// False from the moment an event was lost or a write failed, until writing works again and every gap has its
    /// record in the file.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.open.queue.healthy()
    }

    /// Waits until every event recorded before this call is on the disk.
    ///
    /// # Errors
    /// When `bound` passes first, or the disk refused.
    pub fn flush(&self, bound: Duration) -> Result<(), FlushTimeout> {
        if self.open.queue.wait_durable(bound) { Ok(()) } else { Err(FlushTimeout) }
    }

    /// Has the file opened anew by its path, after it was rotated away. Returns at once.
    pub fn reopen(&self) {
        self.open.queue.ask_to_reopen();
    }

    /// What the recorder counts about itself.
    #[must_use]
    pub fn metrics(&self) -> &AuditMetrics {
        &self.open.metrics
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.queue.close(CLOSING_BOUND);
    }
}

/// Why a recorder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditFault {
    /// The sink could not be opened or its end not repaired.
    #[error("cannot open the event sink {place}: {source}")]
    Open {
        /// The sink.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The metrics could not be registered.
    #[error("cannot register the metrics of the event recorder: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The writing thread could not be started.
    #[error("cannot start the event thread: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// Not everything reached the disk in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the events did not reach the disk in time")]
pub struct FlushTimeout;

#[cfg(test)]
mod tests;
