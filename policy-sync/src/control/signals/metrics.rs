//! What is counted of signals.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Taken,
    Replayed,
    InvalidRequest,
    InvalidKey,
    InvalidIssuer,
    InvalidAudience,
    AuthenticationFailed,
    TooMany,
    Unavailable,
}

impl Outcome {
    /// The word for metrics; for refusals with an `err` of RFC 8935, that.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Replayed => "replayed",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Labels are the names of transmitters in the settings, `none` for a token of nobody known, and closed lists.
pub(super) struct SignalMetrics {
    tokens: IntCounterVec,
    events: IntCounterVec,
    streams: IntGaugeVec,
    seconds: HistogramVec,
}

impl SignalMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            tokens: IntCounterVec::new(
                Opts::new("portcullis_signal_tokens_total", "Security event tokens, by what became of them."),
                &["transmitter", "outcome"],
            )?,
            events: IntCounterVec::new(
                Opts::new("portcullis_signal_events_total", "Security events, by what they did."),
                &["transmitter", "event", "outcome"],
            )?,
            streams: IntGaugeVec::new(
                Opts::new(
                    "portcullis_signal_stream_enabled",
                    "1 while the transmitter says that its stream is enabled, else 0.",
                ),
                &["transmitter"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "portcullis_signal_seconds",
                    "Time from a delivery until what follows from it is written down.",
                ),
                &["transmitter"],
            )?,
        };
        registry.register(Box::new(metrics.tokens.clone()))?;
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }

    pub(super) fn token(&self, transmitter: &str, outcome: Outcome, took: Duration) {
        self.tokens.with_label_values(&[transmitter, outcome.as_str()]).inc();
        if outcome == Outcome::Taken {
            self.seconds.with_label_values(&[transmitter]).observe(took.as_secs_f64());
        }
    }

    pub(super) fn event(&self, transmitter: &str, event: &'static str, outcome: &'static str) {
        self.events.with_label_values(&[transmitter, event, outcome]).inc();
    }

    pub(super) fn stream(&self, transmitter: &str, enabled: bool) {
        self.streams.with_label_values(&[transmitter]).set(i64::from(enabled));
    }
}
