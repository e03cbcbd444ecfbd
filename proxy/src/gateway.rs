//! What does every session share? The parts of a running gateway, each behind the narrowest thing that serves.
//!
//! What a reload can change stands behind an atomic pointer and is read once where it is needed; the rest is fixed for the
//! life of the process. Nothing here has logic of its own beyond "may a session begin now".

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use audit::Recorder;
use certs::DeviceVerifier;
use config::Reason;
use config::settings::{AuditFailure, GatewaySettings};
use policy_sync::Feed;
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};

use crate::authorize::ConnectRates;
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::egress::Egress;
use crate::forward::Upstreams;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::registry::{Registry, Session};
use crate::request::Rules;
use crate::resolve::Resolver;
use crate::screen::Screen;

/// A running gateway.
pub struct Gateway {
    /// The settings in force.
    pub settings: ArcSwap<GatewaySettings>,
    /// Live sessions.
    pub registry: Arc<Registry>,
    /// What is allowed now.
    pub feed: Arc<Feed>,
    /// Where events go.
    pub recorder: Recorder,
    /// What this crate counts.
    pub metrics: Metrics,
    /// Every crate's metrics, for scraping.
    pub scrape: prometheus::Registry,
    /// What time it is.
    pub clock: Clock,
    /// Which certificates are trusted now.
    pub verifier: Arc<DeviceVerifier>,
    /// How TLS is spoken on the device port.
    pub tls: ArcSwap<ServerConfig>,
    /// Which addresses may be dialled; shared with the resolver.
    pub screen: ArcSwap<Screen>,
    /// Where the listeners are bound.
    pub listeners: Vec<SocketAddr>,
    /// How names are looked up.
    pub resolver: ArcSwap<Resolver>,
    /// What is left of the upload limits.
    pub budgets: Budgets,
    /// Idle plain-HTTP connections to origins.
    pub upstreams: Upstreams<Egress>,
    /// What request heads are measured against.
    pub request_rules: Rules,
    /// Requests per device and second.
    pub rates: ConnectRates,
    /// One permit for each device connection.
    pub connections: Arc<Semaphore>,
    /// One permit for each handshake under way.
    pub handshakes: Semaphore,
    /// How the steps of handshakes leave room for tunnels.
    pub pace: Pace,
    /// Turns true when the gateway drains.
    pub drain: watch::Sender<bool>,
}

impl Gateway {
    /// Why no session may begin now, if so.
    #[must_use]
    pub fn unavailable(&self) -> Option<Reason> {
        if *self.drain.borrow() {
            return Some(Reason::Draining);
        }
        let settings = self.settings.load();
        if !self.recorder.healthy() && settings.audit.on_failure == AuditFailure::Refuse {
            return Some(Reason::AuditUnavailable);
        }
        match self.feed.age() {
            None => Some(Reason::NoPolicy),
            Some(age) if age > settings.policy.max_staleness => Some(Reason::PolicyStale),
            Some(_) => None,
        }
    }

    /// How old the policy is; for ever, if there has never been one.
    #[must_use]
    pub fn policy_age(&self) -> Duration {
        self.feed.age().unwrap_or(Duration::MAX)
    }

    /// Returns once the gateway drains.
    pub async fn drain_begun(&self) {
        let mut drain = self.drain.subscribe();
        // The sender lives in `self`, so waiting cannot fail for want of it.
        let _begun = drain.wait_for(|draining| *draining).await;
    }

    /// Adds what a session has moved since it last reported to the process-wide counters.
    pub fn fold_bytes(&self, session: &Session) {
        let (uploaded, downloaded) = session.unreported();
        self.metrics.upload_bytes.inc_by(uploaded);
        self.metrics.download_bytes.inc_by(downloaded);
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("settings", &self.settings.load().gateway).finish_non_exhaustive()
    }
}
