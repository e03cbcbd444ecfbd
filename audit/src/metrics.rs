//! What the recorder counts about itself. Every name is registered here and nowhere else.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of one recorder.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    /// Events recorded, by type.
    pub events: IntCounterVec,
    /// Events that were lost because the queue was full.
    pub lost: IntCounter,
    /// Writes, syncs and reopenings of the sink that failed.
    pub faults: IntCounter,
    /// Events waiting to be written, as of the last batch.
    pub queued: IntGauge,
    /// 1 while every event reaches its sink, else 0.
    pub healthy: IntGauge,
}

impl AuditMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            events: IntCounterVec::new(
                Opts::new("portcullis_audit_events_total", "Events recorded, by type."),
                &["event_type"],
            )?,
            lost: IntCounter::new(
                "portcullis_audit_lost_total",
                "Events lost because the queue was full; a system.audit_gap event names each gap.",
            )?,
            faults: IntCounter::new(
                "portcullis_audit_faults_total",
                "Writes, syncs and reopenings of the event file that failed.",
            )?,
            queued: IntGauge::new("portcullis_audit_queue_length", "Events waiting to be written.")?,
            healthy: IntGauge::new(
                "portcullis_audit_healthy",
                "1 while every event reaches its file, else 0.",
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.faults.clone()))?;
        registry.register(Box::new(metrics.queued.clone()))?;
        registry.register(Box::new(metrics.healthy.clone()))?;
        metrics.healthy.set(1);
        Ok(metrics)
    }
}
