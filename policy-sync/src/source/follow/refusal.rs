//! Why something that came over the link is not taken, as a closed list, and how that is told.
//!
//! Every refusal is counted; in the event file each reason stands once a second at most, so that a hostile bus cannot fill
//! a disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use audit::{Event, EventType, Recorder};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::envelope::EnvelopeFault;
use crate::log::{LogFault, Position};
use crate::signed::SignedFault;
use crate::source::intake::Refused;

/// How often one reason is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    /// Not what it claims to be by its form: cut off, too large, of another kind.
    Malformed,
    /// Nobody whose word counts for this has signed it.
    Forged,
    /// It was taken before, or something later was.
    Replayed,
    /// Something before it is missing; that is asked for instead.
    Gap,
    /// It contradicts what was followed.
    Fork,
    /// It belongs to a log, or to a part of it, that was left behind.
    Rollback,
    /// It belongs to a later epoch, into which only a snapshot leads.
    Epoch,
    /// Its time has not come.
    Future,
    /// A part that its signed head names is not to be had.
    Missing,
    /// It came faster than it could be taken.
    Overflow,
}

impl Refusal {
    pub(super) const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Forged,
        Self::Replayed,
        Self::Gap,
        Self::Fork,
        Self::Rollback,
        Self::Epoch,
        Self::Future,
        Self::Missing,
        Self::Overflow,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Gap => "gap",
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::Epoch => "epoch",
            Self::Future => "future",
            Self::Missing => "missing",
            Self::Overflow => "overflow",
        }
    }

    /// Whether it is part of everyday life: something came twice, or before what it follows.
    const fn is_ordinary(self) -> bool {
        match self {
            Self::Replayed | Self::Gap | Self::Overflow => true,
            Self::Malformed
            | Self::Forged
            | Self::Fork
            | Self::Rollback
            | Self::Epoch
            | Self::Future
            | Self::Missing => false,
        }
    }
}

impl From<&EnvelopeFault> for Refusal {
    fn from(fault: &EnvelopeFault) -> Self {
        match fault {
            EnvelopeFault::BadSignature(_) | EnvelopeFault::NoKnownKey => Self::Forged,
            EnvelopeFault::TooLarge
            | EnvelopeFault::Json(_)
            | EnvelopeFault::PayloadType
            | EnvelopeFault::Base64(_)
            | EnvelopeFault::Unsigned
            | EnvelopeFault::TooManySignatures => Self::Malformed,
        }
    }
}

impl From<&LogFault> for Refusal {
    fn from(fault: &LogFault) -> Self {
        match fault {
            LogFault::Envelope(fault) => fault.into(),
            LogFault::Role => Self::Forged,
            LogFault::Payload(_) => Self::Malformed,
        }
    }
}

impl From<&Refused> for Refusal {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Envelope(fault) | Refused::Signed(SignedFault::Envelope(fault)) => fault.into(),
            Refused::Signed(SignedFault::Roles(_)) => Self::Forged,
            Refused::Signed(SignedFault::Payload(_) | SignedFault::Manifest(_)) | Refused::Unreadable(_) => {
                Self::Malformed
            }
            Refused::NotAdmitted(_) => Self::Replayed,
        }
    }
}

/// What following a log counts.
#[derive(Debug, Clone)]
pub(super) struct FollowMetrics {
    refused: IntCounterVec,
    epoch: IntGauge,
    sequence: IntGauge,
    behind: IntGauge,
}

impl FollowMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            refused: IntCounterVec::new(
                Opts::new(
                    "portcullis_policy_refused_frames_total",
                    "What came from the control plane, or in its name, and was not taken, by reason.",
                ),
                &["reason"],
            )?,
            epoch: IntGauge::new("portcullis_policy_epoch", "The epoch of the log that is followed.")?,
            sequence: IntGauge::new(
                "portcullis_policy_sequence",
                "How far the log was followed: the number of its last record in force here.",
            )?,
            behind: IntGauge::new(
                "portcullis_policy_behind_records",
                "How many records the log is known to have beyond those in force here.",
            )?,
        };
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.epoch.clone()))?;
        registry.register(Box::new(metrics.sequence.clone()))?;
        registry.register(Box::new(metrics.behind.clone()))?;
        for reason in Refusal::ALL {
            metrics.refused.with_label_values(&[reason.as_str()]);
        }
        Ok(metrics)
    }

    /// Shows how far the log was followed, and how far it is known to reach.
    pub(super) fn show(&self, position: Option<Position>, ahead: u64) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (epoch, sequence) = position.map_or((0, 0), |position| (position.epoch, position.sequence));
        self.epoch.set(gauge(epoch));
        self.sequence.set(gauge(sequence));
        self.behind.set(gauge(ahead.saturating_sub(sequence)));
    }

    #[cfg(test)]
    pub(super) fn refused(&self, reason: Refusal) -> u64 {
        self.refused.with_label_values(&[reason.as_str()]).get()
    }
}

/// Counts refusals and tells of them.
#[derive(Debug)]
pub(super) struct Refusals {
    metrics: FollowMetrics,
    recorder: Recorder,
    told: HashMap<Refusal, Instant>,
}

impl Refusals {
    pub(super) fn new(metrics: FollowMetrics, recorder: Recorder) -> Self {
        Self { metrics, recorder, told: HashMap::new() }
    }

    /// Counts it; tells of it too, unless that was done for this reason a moment ago or it is part of everyday life.
    pub(super) fn note(&mut self, reason: Refusal, what: impl std::fmt::Display) {
        self.metrics.refused.with_label_values(&[reason.as_str()]).inc();
        if reason.is_ordinary() || self.told.get(&reason).is_some_and(|at| at.elapsed() < TELL_EVERY) {
            tracing::debug!(reason = reason.as_str(), %what, "not taken from the control plane");
            return;
        }
        self.told.insert(reason, Instant::now());
        tracing::warn!(reason = reason.as_str(), %what, "not taken from the control plane");
        let event = Event::new(EventType::PolicyFrameRefused);
        self.recorder.record(event.detail(format_args!("{}: {what}", reason.as_str())));
    }

    pub(super) fn metrics(&self) -> &FollowMetrics {
        &self.metrics
    }
}
