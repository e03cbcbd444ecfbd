//! The thread that turns queued events into lines and gets them into the sink.
//!
//! A failed write is retried with a growing pause from exactly the byte where it stopped, so a full disk leaves
//! neither a hole nor half a line once there is room again. Meanwhile the queue fills, and what no longer fits is
//! counted. It never gives an event up while the recorder is open.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::event::{Event, EventType};
use crate::line::{self, Stamp};
use crate::metrics::AuditMetrics;
use crate::queue::{Queue, Stamped, Work};
use crate::sink::Outlet;

const FIRST_BACK_OFF: Duration = Duration::from_millis(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// A buffer that grew beyond this for one batch is given back.
const BUFFER_KEPT: usize = 1 << 20;

pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) outlet: Box<dyn Outlet>,
    pub(crate) gateway: String,
    pub(crate) metrics: AuditMetrics,
}

impl Writer {
    /// Works until the recorder is closed and the queue is empty.
    pub(crate) fn run(mut self) {
        let mut lines = Vec::new();
        loop {
            let work = self.queue.take();
            if work.reopen {
                self.reopen();
            }
            lines.clear();
            let mut names = Names::new();
            for stamped in &work.batch {
                self.append(&mut lines, stamped, names.next(stamped.at));
            }
            let written = self.write(&lines);
            let durable = written && (!work.sync || self.sync(&work));
            if written {
                self.queue.settle(&work, durable && work.sync);
            }
            self.note_state();
            if work.closed {
                break;
            }
            if lines.capacity() > BUFFER_KEPT {
                lines = Vec::new();
            }
        }
        self.queue.end();
    }

    fn append(&self, lines: &mut Vec<u8>, stamped: &Stamped, event_id: Uuid) {
        let stamp = Stamp { at: stamped.at, event_id, sequence: stamped.sequence, gateway: &self.gateway };
        line::append(lines, &stamped.event, stamp);
        self.metrics.events.with_label_values(&[stamped.event.event_type().as_str()]).inc();
    }

    /// Writes all of it, however long that takes; false only when the recorder was closed during a failure.
    fn write(&mut self, lines: &[u8]) -> bool {
        let mut done = 0;
        let mut failure: Option<Failure> = None;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            match self.outlet.write(rest) {
                Ok(0) => {
                    if !self.back_off(&mut failure, &io::ErrorKind::WriteZero.into(), lines, &mut done) {
                        return false;
                    }
                }
                Ok(count) => done += count,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => {
                    if !self.back_off(&mut failure, &fault, lines, &mut done) {
                        return false;
                    }
                }
            }
        }
        if let Some(failure) = failure {
            self.recovered(failure.since.elapsed(), &failure.text);
        } else if !lines.is_empty() {
            self.queue.set_failing(false);
        }
        true
    }

    /// Counts the fault, waits, reopens when asked to meanwhile. False when the recorder was closed.
    fn back_off(
        &mut self,
        failure: &mut Option<Failure>,
        fault: &io::Error,
        lines: &[u8],
        done: &mut usize,
    ) -> bool {
        self.fault("write", fault);
        let pause = match failure {
            Some(failure) => failure.next_pause(),
            None => failure.insert(Failure::new(fault)).pause,
        };
        self.note_state();
        let asked = self.queue.pause(pause);
        if asked.reopen && self.reopen() {
            // The new file begins with a whole line.
            let written = lines.get(..*done).unwrap_or_default();
            *done = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        }
        !asked.closed
    }

    fn reopen(&mut self) -> bool {
        match self.outlet.reopen() {
            Ok(torn) => {
                self.repaired(torn);
                true
            }
            Err(fault) => {
                // The old file stays open, so nothing is lost by this.
                self.fault("reopen", &fault);
                false
            }
        }
    }

    fn sync(&mut self, work: &Work) -> bool {
        match self.outlet.sync() {
            Ok(()) => true,
            Err(fault) => {
                // The kernel drops what it could not write and says so once: a second attempt would only seem to work.
                self.fault("sync", &fault);
                let detail = format!("events up to {} may not have reached the disk: {fault}", work.up_to);
                self.queue.push_own(Event::new(EventType::InternalFault).detail(detail));
                false
            }
        }
    }

    fn fault(&self, step: &'static str, fault: &io::Error) {
        self.queue.set_failing(true);
        self.metrics.faults.inc();
        tracing::error!(step, %fault, "the event file is failing");
    }

    fn recovered(&self, after: Duration, fault: &str) {
        self.queue.set_failing(false);
        tracing::info!(?after, "the event file is written again");
        self.queue.push_own(Event::new(EventType::AuditRecovered).duration(after).detail(fault));
    }

    /// Says that an incomplete last line was terminated.
    pub(crate) fn repaired(&self, torn: u64) {
        if torn > 0 {
            let detail =
                format!("the file ended in an incomplete line of {torn} bytes, which was terminated");
            tracing::warn!("{detail}");
            self.queue.push_own(Event::new(EventType::AuditRecovered).detail(detail));
        }
    }

    fn note_state(&self) {
        self.metrics.healthy.set(i64::from(self.queue.healthy()));
        self.metrics.queued.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
    }
}

struct Failure {
    since: Instant,
    pause: Duration,
    text: String,
}

impl Failure {
    fn new(fault: &io::Error) -> Self {
        Self { since: Instant::now(), pause: FIRST_BACK_OFF, text: format!("writing failed: {fault}") }
    }

    fn next_pause(&mut self) -> Duration {
        self.pause = (self.pause * 2).min(LONGEST_BACK_OFF);
        self.pause
    }
}

/// The ids of a batch: each a UUIDv7 of its event's own time. The first is random, the next count on from it (RFC 9562
/// §6.2, method 2), so that the system is asked for randomness once a batch.
struct Names(u128);

impl Names {
    fn new() -> Self {
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 0, 0)).as_u128())
    }

    fn next(&mut self, at: jiff::Timestamp) -> Uuid {
        self.0 = self.0.wrapping_add(1);
        let [.., a, b, c, d, e, f, g, h, i, j] = self.0.to_be_bytes();
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_events_differ_and_tell_their_time() {
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let (mut names, mut others) = (Names::new(), Names::new());
        let ids: std::collections::HashSet<_> =
            (0..1000).flat_map(|_| [names.next(at), others.next(at)]).collect();
        assert_eq!(ids.len(), 2000);
        for id in ids {
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.get_timestamp().unwrap().to_unix(), (1_700_000_000, 123_000_000));
        }
    }
}
