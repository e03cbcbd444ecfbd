//! How far the log was followed, and what to make of whatever comes next. A pure state machine.
//!
//! It is told what was verified and says what it means; it never verifies, fetches, writes or reads a clock. What it
//! guarantees: a record is taken only right behind the one before it, no position ever goes back, an epoch is entered
//! through a snapshot only, and the policy is as fresh as the latest heartbeat whose position was reached, each counted
//! once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::refusal::Refusal;
use crate::log::{Heartbeat, Position, Record, SnapshotHead};

/// How far ahead of this gateway's clock a control plane's may be.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// How far ahead of this gateway's clock an epoch may have begun, in seconds.
const EPOCH_SKEW: i64 = 300;

/// What has to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// Nothing: as far as is known, this is the end of the log.
    Nothing,
    /// The records behind the position.
    Records,
    /// A snapshot.
    Snapshot,
}

/// What a heartbeat in good order means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// The policy was complete at this moment, so long ago.
    Fresh { at: Timestamp, age: Duration },
    /// The log reaches further than was followed; the heartbeat counts once that is made up for.
    Behind,
}

/// What a snapshot's head in good order means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It leads further: what it names is to be taken.
    Ahead,
    /// It is exactly where this gateway is.
    Here,
}

#[derive(Debug, Clone)]
pub(super) struct Course {
    position: Option<Position>,
    /// `now` of the last heartbeat that counted.
    heard: Option<Timestamp>,
    /// The last heartbeat that will count once its position is reached.
    waiting: Option<Heartbeat>,
    /// The epoch that was last heard of, followed or not.
    epoch_heard: Option<u64>,
    /// How far the log is known to reach.
    ahead: u64,
    /// Whether a signed record contradicts what was followed: nothing is fresh until a snapshot has settled it.
    forked: bool,
    want: Want,
}

impl Course {
    /// Goes on where the log was left, last heard of at `heard`.
    pub(super) fn resume(position: Option<Position>, heard: Option<Timestamp>) -> Self {
        let want = if position.is_some() { Want::Records } else { Want::Snapshot };
        Self { position, heard, waiting: None, epoch_heard: None, ahead: 0, forked: false, want }
    }

    pub(super) const fn position(&self) -> Option<Position> {
        self.position
    }

    /// How far the log is known to reach.
    pub(super) const fn ahead(&self) -> u64 {
        self.ahead
    }

    pub(super) const fn want(&self) -> Want {
        self.want
    }

    /// Has more asked for: after a connection was made, everything may have happened before it.
    pub(super) fn wants(&mut self, want: Want) {
        self.want = self.want.max(want);
    }

    /// Whether a verified record is the very next one.
    pub(super) fn record(&mut self, record: &Record, now: Timestamp) -> Result<(), Refusal> {
        let judged = self.judge(record, now);
        match judged {
            Err(Refusal::Gap) if self.position.is_none() => {
                self.epoch_heard = self.epoch_heard.max(Some(record.position.epoch));
                self.ahead = self.ahead.max(record.position.sequence);
                self.wants(Want::Snapshot);
            }
            Err(Refusal::Gap) => {
                self.ahead = self.ahead.max(record.position.sequence);
                self.wants(Want::Records);
            }
            Err(Refusal::Epoch) => {
                self.epoch_heard = self.epoch_heard.max(Some(record.position.epoch));
                self.wants(Want::Snapshot);
            }
            Err(Refusal::Fork) => {
                self.forked = true;
                self.wants(Want::Snapshot);
            }
            Ok(()) | Err(_) => {}
        }
        judged
    }

    fn judge(&self, record: &Record, now: Timestamp) -> Result<(), Refusal> {
        let theirs = &record.position;
        let Some(ours) = &self.position else {
            return Err(if is_future(theirs.epoch, now) { Refusal::Future } else { Refusal::Gap });
        };
        if theirs.epoch < ours.epoch {
            Err(Refusal::Rollback)
        } else if theirs.epoch > ours.epoch {
            Err(other_epoch(theirs.epoch, now))
        } else if record.follows(ours) {
            Ok(())
        } else if theirs.sequence < ours.sequence || theirs == ours {
            Err(Refusal::Replayed)
        } else if theirs.sequence - ours.sequence <= 1 {
            Err(Refusal::Fork)
        } else {
            Err(Refusal::Gap)
        }
    }

    /// Notes that everything up to here is in force. Says when the policy was complete, if that is known now.
    pub(super) fn arrive(&mut self, position: Position, now: Timestamp) -> Option<Beat> {
        self.position = Some(position);
        self.ahead = self.ahead.max(position.sequence);
        if self.ahead == position.sequence && self.want == Want::Records {
            self.want = Want::Nothing;
        }
        let waiting = self.waiting.filter(|beat| beat.epoch == position.epoch)?;
        if waiting.sequence > position.sequence || self.forked {
            return None;
        }
        self.waiting = None;
        Some(self.count(waiting.now, now))
    }

    /// Notes that the log has no more records than were taken, as far as whoever answered knows.
    pub(super) fn at_end(&mut self) {
        let reached = self.position.map_or(0, |position| position.sequence);
        if self.want == Want::Records {
            // The log may begin beyond this: then only a snapshot helps.
            self.want = if self.ahead > reached { Want::Snapshot } else { Want::Nothing };
        }
    }

    /// What a verified heartbeat means.
    pub(super) fn heartbeat(&mut self, beat: &Heartbeat, now: Timestamp) -> Result<Beat, Refusal> {
        let since = now.duration_since(beat.now);
        if since < -SignedDuration::try_from(CLOCK_SKEW).unwrap_or_default() {
            return Err(Refusal::Future);
        }
        let Some(ours) = self.position else {
            if is_future(beat.epoch, now) {
                return Err(Refusal::Future);
            }
            self.epoch_heard = self.epoch_heard.max(Some(beat.epoch));
            self.ahead = self.ahead.max(beat.sequence);
            self.waiting = Some(*beat);
            self.wants(Want::Snapshot);
            return Ok(Beat::Behind);
        };
        if beat.epoch < ours.epoch {
            return Err(Refusal::Rollback);
        }
        if beat.epoch > ours.epoch {
            let refusal = other_epoch(beat.epoch, now);
            if refusal == Refusal::Epoch {
                self.epoch_heard = self.epoch_heard.max(Some(beat.epoch));
                self.wants(Want::Snapshot);
            }
            return Err(refusal);
        }
        let last = self.waiting.map(|waiting| waiting.now).max(self.heard);
        if last.is_some_and(|last| beat.now <= last) {
            return Err(Refusal::Replayed);
        }
        if self.forked {
            self.wants(Want::Snapshot);
            return Err(Refusal::Fork);
        }
        if beat.sequence > ours.sequence {
            self.ahead = self.ahead.max(beat.sequence);
            self.waiting = Some(*beat);
            self.wants(Want::Records);
            return Ok(Beat::Behind);
        }
        Ok(self.count(beat.now, now))
    }

    fn count(&mut self, at: Timestamp, now: Timestamp) -> Beat {
        self.heard = Some(at);
        Beat::Fresh { at, age: now.duration_since(at).try_into().unwrap_or_default() }
    }

    /// Where a verified snapshot head leads.
    pub(super) fn head(&mut self, head: &SnapshotHead, now: Timestamp) -> Result<Bearing, Refusal> {
        let theirs = head.position;
        if is_future(theirs.epoch, now) {
            return Err(Refusal::Future);
        }
        let Some(ours) = self.position else { return Ok(Bearing::Ahead) };
        if theirs == ours {
            // Signed at this very place: what contradicted it was not of this log.
            self.forked = false;
            return Ok(Bearing::Here);
        }
        let behind = (theirs.epoch, theirs.sequence) < (ours.epoch, ours.sequence);
        // A head that is merely older than this gateway settles nothing.
        if behind { Err(Refusal::Rollback) } else { Ok(Bearing::Ahead) }
    }

    /// Notes that everything a snapshot names is in force.
    pub(super) fn arrive_by_snapshot(&mut self, position: Position, now: Timestamp) -> Option<Beat> {
        if self.position.is_some_and(|ours| ours.epoch != position.epoch) {
            self.ahead = 0;
        }
        self.forked = false;
        self.want = Want::Records;
        let beat = self.arrive(position, now);
        // What came after the snapshot was taken is always asked for.
        self.want = Want::Records;
        beat
    }

    /// What to do when there is no snapshot that leads further: begin at the beginning, go on with records, or wait. Says
    /// when the policy was complete, if that is known now.
    pub(super) fn no_snapshot(&mut self, now: Timestamp) -> Option<Beat> {
        match (self.position, self.epoch_heard) {
            (None, Some(epoch)) if !is_future(epoch, now) => {
                let beat = self.arrive(Position::start_of(epoch), now);
                self.want = Want::Records;
                beat
            }
            // Nothing is known of the log yet: the first heartbeat tells.
            (None, _) => {
                self.want = Want::Nothing;
                None
            }
            (Some(_), _) => {
                self.want = Want::Records;
                None
            }
        }
    }
}

fn is_future(epoch: u64, now: Timestamp) -> bool {
    i64::try_from(epoch).map_or(true, |epoch| epoch > now.as_second().saturating_add(EPOCH_SKEW))
}

fn other_epoch(epoch: u64, now: Timestamp) -> Refusal {
    if is_future(epoch, now) { Refusal::Future } else { Refusal::Epoch }
}
