//! What this gateway reports: how far it has come, and which revocations it has enforced, once both are on its disk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::keeper::Ticket;
use crate::log::Position;
use crate::transport::{Enforced, Report};

/// How long a receipt is repeated: a report can be lost.
const REPEATED_FOR: Duration = Duration::from_secs(3);
/// How many receipts are repeated at most.
const MOST_REPEATED: usize = 256;

/// How far this gateway has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reached {
    pub(super) position: Option<Position>,
    pub(super) revision: u64,
}

#[derive(Default)]
pub(super) struct Receipts {
    kept: Reached,
    not_kept: VecDeque<(Ticket, Reached, Vec<Enforced>)>,
    recent: VecDeque<(Instant, Enforced)>,
}

impl Receipts {
    /// What was on the disk at the start.
    pub(super) fn new(kept: Reached) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Notes what holds once this ticket is on the disk.
    pub(super) fn add(&mut self, ticket: Ticket, reached: Reached, enforced: Vec<Enforced>) {
        match self.not_kept.back_mut() {
            Some((last, before, receipts)) if *last == ticket => {
                *before = reached;
                receipts.extend(enforced);
            }
            _ => self.not_kept.push_back((ticket, reached, enforced)),
        }
    }

    /// Whether everything that holds is on the disk.
    pub(super) fn is_settled(&self) -> bool {
        self.not_kept.is_empty()
    }

    /// Takes over everything up to this ticket: the receipts that can be reported now, and whether there is any news.
    pub(super) fn settle(&mut self, kept: Ticket, now: Instant) -> Option<Vec<Enforced>> {
        let (before, mut settled) = (self.kept, Vec::new());
        while self.not_kept.front().is_some_and(|(ticket, ..)| *ticket <= kept) {
            let Some((_, reached, enforced)) = self.not_kept.pop_front() else { break };
            self.kept = reached;
            settled.extend(enforced);
        }
        self.recent.extend(settled.iter().map(|enforced| (now, enforced.clone())));
        (before != self.kept || !settled.is_empty()).then_some(settled)
    }

    /// The receipts of the last moments, once more.
    pub(super) fn repeated(&mut self, now: Instant) -> Vec<Enforced> {
        let old = |(at, _): &(Instant, Enforced)| now.duration_since(*at) > REPEATED_FOR;
        while self.recent.len() > MOST_REPEATED || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, enforced)| enforced.clone()).collect()
    }

    /// A report with these receipts.
    pub(super) fn report(
        &self,
        version: &str,
        sessions: u64,
        age: Option<Duration>,
        enforced: Vec<Enforced>,
    ) -> Report {
        let (epoch, sequence) = self.kept.position.map_or((0, 0), |at| (at.epoch, at.sequence));
        let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let (version, revision) = (version.to_owned(), self.kept.revision);
        Report { version, revision, epoch, sequence, sessions, age_ms, enforced }
    }
}
