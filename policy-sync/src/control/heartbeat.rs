//! How far the log reaches, said again every second.
//!
//! Says of a moment only what whoever decides over the log has said since that moment: a control plane that is cut off with a
//! part of a fleet would else keep that part fresh while others write. Never speaks of a moment before one that it spoke
//! of, whatever happens to the clock: gateways take only later ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::MissedTickBehavior;

use super::submission::Inner;
use crate::log::{Heartbeat, Position};
use crate::transport::{Frame, TransportFault};

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// The last moment that was spoken of.
#[derive(Debug)]
pub(super) struct Pulse {
    last: Mutex<Timestamp>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(Timestamp::UNIX_EPOCH) }
    }

    /// The heartbeat of this moment.
    pub(super) fn beat(&self, position: &Position, now: Timestamp) -> Heartbeat {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let next = last.saturating_add(SignedDuration::from_millis(1)).unwrap_or(*last);
        *last = now.max(next);
        Heartbeat { epoch: position.epoch, sequence: position.sequence, now: *last }
    }
}

/// Beats until it is aborted.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        match reached(&inner).await {
            Ok(Some(position)) => {
                let heartbeat = inner.pulse.beat(&position, now);
                inner.transport.broadcast(Frame::Heartbeat(heartbeat.seal(&inner.keys.control)));
            }
            Ok(None) => tracing::debug!("no heartbeat: the log is not followed to its end yet"),
            Err(fault) => tracing::warn!(%fault, "no heartbeat: nobody says how far the log reaches"),
        }
        inner.measure();
    }
}

/// Where this control plane has followed the log to, once that is as far as it reaches by now; `None` when that takes long.
async fn reached(inner: &Inner) -> Result<Option<Position>, TransportFault> {
    let known = inner.state().position().sequence;
    let end = inner.transport.end(known).await?;
    let mut changes = inner.changes.subscribe();
    let followed = changes.wait_for(|position| position.sequence >= end);
    let followed = tokio::time::timeout(EVERY, followed).await;
    Ok(followed.ok().and_then(|position| position.ok().map(|position| *position)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_go_on_forwards_when_the_clock_is_set_back() {
        let pulse = Pulse::new();
        let position = Position::start_of(7);
        let second = |second| Timestamp::from_second(second).unwrap();
        let moments: Vec<_> = [100, 101, 50, 50, 102]
            .into_iter()
            .map(|now| pulse.beat(&position, second(now)).now.as_millisecond())
            .collect();
        assert_eq!(moments, [100_000, 101_000, 101_001, 101_002, 102_000]);
    }
}
