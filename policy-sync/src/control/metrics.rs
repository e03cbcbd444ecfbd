//! What the control plane counts. Every name is registered here and nowhere else.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Seconds; writing down is meant to take less than one millisecond, and a revocation less than ten.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Metrics of one control plane.
#[derive(Debug, Clone)]
pub struct ControlMetrics {
    /// Records that this plane wrote down, by kind.
    pub records: IntCounterVec,
    /// Submissions that were refused, by why.
    pub refusals: IntCounterVec,
    /// From handing records to the transport until they were durable.
    pub append_seconds: Histogram,
    /// Appends that had to be tried again because another control plane was first.
    pub append_conflicts: IntCounter,
    /// Appends that failed.
    pub append_faults: IntCounter,
    /// From sending a revocation until every connected gateway had enforced it.
    pub enforced_seconds: Histogram,
    /// The last sequence of the log.
    pub sequence: IntGauge,
    /// Manifests that are live.
    pub manifests: IntGauge,
    /// Targets that are revoked.
    pub revocations: IntGauge,
    /// Gateways that are known.
    pub gateways: IntGauge,
    /// Gateways that are connected.
    pub gateways_connected: IntGauge,
    /// Snapshots that were taken.
    pub snapshots: IntCounter,
    /// 1 while the log can be followed and written, else 0.
    pub log_up: IntGauge,
}

impl ControlMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            records: counters(
                "portcullis_control_records_total",
                "Records written down in the log of policy, by kind.",
                "kind",
            )?,
            refusals: counters(
                "portcullis_control_refusals_total",
                "Submissions that were refused, by reason.",
                "reason",
            )?,
            append_seconds: histogram(
                "portcullis_control_append_seconds",
                "From handing records to the store until they were durable.",
            )?,
            append_conflicts: IntCounter::new(
                "portcullis_control_append_conflicts_total",
                "Appends tried again because another control plane was first.",
            )?,
            append_faults: IntCounter::new(
                "portcullis_control_append_faults_total",
                "Appends that failed: what they carried is not written down.",
            )?,
            enforced_seconds: histogram(
                "portcullis_control_enforced_seconds",
                "From sending a revocation until every connected gateway had enforced it.",
            )?,
            sequence: IntGauge::new("portcullis_control_log_sequence", "The last sequence of the log.")?,
            manifests: IntGauge::new("portcullis_control_manifests", "Manifests that are live.")?,
            revocations: IntGauge::new("portcullis_control_revocations", "Targets that are revoked.")?,
            gateways: IntGauge::new("portcullis_control_gateways", "Gateways that are known.")?,
            gateways_connected: IntGauge::new(
                "portcullis_control_gateways_connected",
                "Gateways that are connected.",
            )?,
            snapshots: IntCounter::new(
                "portcullis_control_snapshots_total",
                "Snapshots of the log that were taken.",
            )?,
            log_up: IntGauge::new(
                "portcullis_control_log_up",
                "1 while the log of policy can be followed and written, else 0.",
            )?,
        };
        metrics.add_to(registry)?;
        metrics.log_up.set(1);
        Ok(metrics)
    }

    fn add_to(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for counters in [&self.records, &self.refusals] {
            registry.register(Box::new(counters.clone()))?;
        }
        for histogram in [&self.append_seconds, &self.enforced_seconds] {
            registry.register(Box::new(histogram.clone()))?;
        }
        for counter in [&self.append_conflicts, &self.append_faults, &self.snapshots] {
            registry.register(Box::new(counter.clone()))?;
        }
        let gauges = [
            &self.sequence,
            &self.manifests,
            &self.revocations,
            &self.gateways,
            &self.gateways_connected,
            &self.log_up,
        ];
        for gauge in gauges {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(())
    }
}

fn counters(name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}

fn histogram(name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))
}

/// A count as a gauge has it.
pub(super) fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
