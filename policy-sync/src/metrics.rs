//! What the policy source counts. Every name is registered here and nowhere else.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Seconds; a change is meant to take effect within the first few.
const BUCKETS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Metrics of one policy source.
#[derive(Debug, Clone)]
pub struct PolicyMetrics {
    /// Manifests that are live.
    pub manifests: IntGauge,
    /// Targets that are revoked.
    pub revocations: IntGauge,
    /// Files of the source that are refused at the moment, by kind.
    pub refused_files: IntGaugeVec,
    /// Files that were refused, by kind.
    pub refusals: IntCounterVec,
    /// Snapshots that were published.
    pub publications: IntCounter,
    /// From noticing a change at the source to its being in force.
    pub apply_seconds: Histogram,
    /// 1 while the source can be read, else 0.
    pub source_up: IntGauge,
    /// 1 while something that must be remembered has not reached the disk, else 0.
    pub journal_behind: IntGauge,
}

impl PolicyMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let kind = &["kind"];
        let metrics = Self {
            manifests: IntGauge::new("portcullis_policy_manifests", "Manifests that are live.")?,
            revocations: IntGauge::new("portcullis_policy_revocations", "Targets that are revoked.")?,
            refused_files: IntGaugeVec::new(
                Opts::new(
                    "portcullis_policy_refused_files",
                    "Files of the policy source refused at the moment.",
                ),
                kind,
            )?,
            refusals: IntCounterVec::new(
                Opts::new(
                    "portcullis_policy_refusals_total",
                    "Files of the policy source that were refused.",
                ),
                kind,
            )?,
            publications: IntCounter::new(
                "portcullis_policy_publications_total",
                "Policy revisions published.",
            )?,
            apply_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_policy_apply_seconds",
                    "From noticing a change at the policy source to its being in force.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
            source_up: IntGauge::new(
                "portcullis_policy_source_up",
                "1 while the policy source can be read, else 0.",
            )?,
            journal_behind: IntGauge::new(
                "portcullis_policy_journal_behind",
                "1 while something that must survive a restart has not reached the disk, else 0.",
            )?,
        };
        registry.register(Box::new(metrics.manifests.clone()))?;
        registry.register(Box::new(metrics.revocations.clone()))?;
        registry.register(Box::new(metrics.refused_files.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.publications.clone()))?;
        registry.register(Box::new(metrics.apply_seconds.clone()))?;
        registry.register(Box::new(metrics.source_up.clone()))?;
        registry.register(Box::new(metrics.journal_behind.clone()))?;
        Ok(metrics)
    }
}
