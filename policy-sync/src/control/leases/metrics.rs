//! What is counted of the parts of budgets that are handed out. Every name is registered here and nowhere else.

use prometheus::{IntCounterVec, Opts, Registry};

use super::LeaseRefusal;
use crate::lease::{LeaseAnswer, LeaseRequest};

/// Metrics of the budgets that gateways share.
#[derive(Debug, Clone)]
pub struct LeaseMetrics {
    requests: IntCounterVec,
}

impl LeaseMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry already holds one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new(
                "portcullis_control_budget_requests_total",
                "Requests of gateways for parts of shared upload budgets, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { requests })
    }

    pub(super) fn note(&self, request: &LeaseRequest, outcome: &Result<LeaseAnswer, LeaseRefusal>) {
        self.requests.with_label_values(&[word(request, outcome)]).inc();
    }
}

/// The outcome in one word, from a closed list.
fn word(request: &LeaseRequest, outcome: &Result<LeaseAnswer, LeaseRefusal>) -> &'static str {
    use LeaseRefusal as R;
    match outcome {
        Ok(LeaseAnswer { granted: None, .. }) => "unknown",
        Ok(LeaseAnswer { granted: Some(granted), .. }) if *granted > request.granted => "granted",
        Ok(_) if request.want == 0 => "returned",
        Ok(_) => "spent",
        Err(R::Malformed(_) | R::NoManifest | R::NoAuthority(_) | R::NoRule | R::WindowEnded) => "refused",
        Err(R::Behind) => "behind",
        Err(R::Busy | R::Damaged | R::Transport(_)) => "failed",
    }
}
