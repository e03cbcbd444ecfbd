//! What happened, provably: the event schema and the recorder that writes it.
//!
//! In reading order: [`event`] says what an event is, [`mod@line`] how it becomes one line of JSON, [`recorder`] is what
//! the rest of the program holds, [`queue`] the bounded hand-over to its thread, [`writer`] that thread, [`sink`]
//! the files it writes to and [`metrics`] what it counts about itself.
//!
//! Relies on `config` for names and reasons. It never sees payload, headers or secrets: an event has no field that
//! could hold them.

mod event;
pub mod line;
mod metrics;
mod queue;
mod recorder;
mod sink;
mod writer;

pub use event::{Anomaly, Decision, Event, EventType, TEXT_LIMIT};
pub use metrics::AuditMetrics;
pub use recorder::{AuditFault, FlushTimeout, Recorder, RecorderOptions};
pub use sink::{MemoryLog, Sink};
