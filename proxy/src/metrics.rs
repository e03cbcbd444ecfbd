//! What does the enforcement point count? Every metric of this crate is named and registered here and nowhere else.
//!
//! Labels come from closed lists (reasons, stages, outcomes): never from a device, a host or anything a peer chose.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// The metrics of the enforcement point.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Decisions on requests, by decision and reason (`allowed` has the reason `none`).
    pub decisions: IntCounterVec,
    /// Sessions that ended, by reason.
    pub endings: IntCounterVec,
    /// Live sessions, by kind.
    pub live: IntGaugeVec,
    /// Bytes handed to origins. Folded in when a session ends or reports.
    pub upload_bytes: IntCounter,
    /// Bytes handed to devices. Folded in when a session ends or reports.
    pub download_bytes: IntCounter,
    /// Device connections accepted.
    pub accepted: IntCounter,
    /// Device connections turned away before TLS, by reason.
    pub turned_away: IntCounterVec,
    /// TLS handshakes, by outcome (`completed`, or the check that failed).
    pub handshakes: IntCounterVec,
    /// TLS handshakes that were completed, by kind (`full` or `resumed`).
    pub completed_handshakes: IntCounterVec,
    /// Seconds a TLS handshake took.
    pub handshake_seconds: Histogram,
    /// Seconds a name look-up took, caches included.
    pub resolve_seconds: Histogram,
    /// Seconds until a connection to an origin was open.
    pub dial_seconds: Histogram,
    /// Seconds from the start of a policy change until no touched session could write.
    pub trip_seconds: Histogram,
    /// Seconds from the trip until a session's sockets were closed.
    pub close_seconds: Histogram,
    /// Accept calls that failed, mostly for want of descriptors.
    pub accept_faults: IntCounter,
    /// The policy revision in force.
    pub policy_revision: IntGauge,
    /// Seconds since the policy source last proved to be alive.
    pub policy_age: IntGauge,
    /// 1 while the gateway is ready for sessions.
    pub ready: IntGauge,
    /// The version that runs; always 1.
    pub build: IntGaugeVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            decisions: counters(
                registry,
                "portcullis_decisions_total",
                "Decisions on requests, by decision and reason.",
                &["decision", "reason"],
            )?,
            endings: counters(
                registry,
                "portcullis_sessions_ended_total",
                "Sessions that ended, by reason.",
                &["reason"],
            )?,
            live: gauges(
                registry,
                "portcullis_sessions_live",
                "Live sessions and connections, by kind.",
                &["kind"],
            )?,
            upload_bytes: counter(
                registry,
                "portcullis_upload_bytes_total",
                "Bytes handed to origins by sessions that ended or reported.",
            )?,
            download_bytes: counter(
                registry,
                "portcullis_download_bytes_total",
                "Bytes handed to devices by sessions that ended or reported.",
            )?,
            accepted: counter(registry, "portcullis_connections_total", "Device connections accepted.")?,
            turned_away: counters(
                registry,
                "portcullis_connections_turned_away_total",
                "Device connections closed before TLS, by reason.",
                &["reason"],
            )?,
            handshakes: counters(
                registry,
                "portcullis_handshakes_total",
                "TLS handshakes, by outcome: completed, or the check that failed.",
                &["outcome"],
            )?,
            completed_handshakes: counters(
                registry,
                "portcullis_handshakes_completed_total",
                "TLS handshakes that were completed, by kind: full, or resumed by a ticket.",
                &["kind"],
            )?,
            handshake_seconds: histogram(
                registry,
                "portcullis_handshake_seconds",
                "Duration of TLS handshakes.",
            )?,
            resolve_seconds: histogram(registry, "portcullis_resolve_seconds", "Duration of name look-ups.")?,
            dial_seconds: histogram(
                registry,
                "portcullis_dial_seconds",
                "Time until a connection to an origin was open.",
            )?,
            trip_seconds: histogram(
                registry,
                "portcullis_revocation_trip_seconds",
                "Time from a policy change until no session that it ends could write.",
            )?,
            close_seconds: histogram(
                registry,
                "portcullis_revocation_close_seconds",
                "Time from the trip of a session until its sockets were closed.",
            )?,
            accept_faults: counter(
                registry,
                "portcullis_accept_faults_total",
                "Accept calls that failed, mostly for want of descriptors.",
            )?,
            policy_revision: gauge(registry, "portcullis_policy_revision", "The policy revision in force.")?,
            policy_age: gauge(
                registry,
                "portcullis_policy_age_seconds",
                "Seconds since the policy source last proved to be alive.",
            )?,
            ready: gauge(registry, "portcullis_ready", "1 while the gateway takes new sessions, else 0.")?,
            build: gauges(registry, "portcullis_build_info", "The version that runs.", &["version"])?,
        };
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }
}

/// Upper bounds in seconds: tens of microseconds (a trip) to ten seconds (a dial).
pub(crate) const SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(name, help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(name, help)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn histogram(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Histogram> {
    registered(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?)
}
