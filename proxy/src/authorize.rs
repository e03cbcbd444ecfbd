//! May this session open? The one place where a decision becomes a [`Permit`].
//!
//! Every entry path (CONNECT over HTTP/1 and HTTP/2, plain HTTP, WebSocket) comes through [`authorize`], and resolving and
//! dialling take what only it can make. The order matters and is the registry's: the session is entered already, then
//! the policy is read, then what it found is indexed, and then the policy must still be the same one. A change that
//! comes between is either seen here or finds the session in the registry.

use std::sync::Arc;
use std::time::Duration;

use certs::Refusal;
use config::{Destination, DeviceId, Reason, TlsExpectation};
use pingora_limits::rate::Rate;
use policy_sync::{Denial, Grant, LiveManifest, Snapshot};

use crate::gateway::Gateway;
use crate::record::LiveSession;
use crate::registry::{Authority, Session, Subject};

/// Proof that the policy allows one session to one destination. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Permit {
    grant: Grant,
    rule: Option<String>,
    destination: Destination,
    device: DeviceId,
}

impl Permit {
    /// Where the session may go.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Which device may go there.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The decision itself.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The manifest that allows it.
    #[must_use]
    pub fn manifest(&self) -> &Arc<LiveManifest> {
        &self.grant.manifest
    }

    /// The deciding rule as the manifest spells it.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// What the first flight has to be. Off the list, in report mode, the default for the port holds.
    #[must_use]
    pub fn tls(&self) -> TlsExpectation {
        let port = self.destination.port();
        match self.grant.rule.and_then(|rule| self.grant.manifest.rules.allow_entry(rule)) {
            Some(entry) => entry.expected_tls(port),
            None => TlsExpectation::default_for(port),
        }
    }
}

/// Decides whether a session opens.
///
/// # Errors
/// The denial, with the rule and the manifest that decided.
pub fn authorize(gateway: &Gateway, live: &LiveSession) -> Result<Permit, Denial> {
    let session = live.session();
    check_gateway(gateway)?;
    check_rate(gateway, &session.device.device)?;
    let grant = decide(gateway, live)?;
    check_sessions(gateway, session, &grant)?;
    if let Some(reason) = grant.would_deny {
        live.would_deny(reason);
    }
    let destination = session.destination.clone().ok_or_else(|| denial(gateway, Reason::InternalFault))?;
    let rule = session.authority().and_then(|authority| authority.rule.clone());
    Ok(Permit { grant, rule, destination, device: session.device.device.clone() })
}

/// Whether a device may hold a connection at all: its certificate path under the trust of this moment, and its standing
/// in the policy of this moment. To be asked after the connection was entered in the registry.
///
/// # Errors
/// The reason why not.
pub fn check_standing(gateway: &Gateway, session: &Session) -> Result<(), Reason> {
    let now = gateway.clock.now();
    gateway.verifier.trust().recheck(&session.device, now).map_err(reason_of)?;
    gateway.feed.current().standing(&session.device.device, &session.device.chain)
}

/// The reason that a refused certificate gives everyone; the handshake log names the exact check.
#[must_use]
pub fn reason_of(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Revoked | Refusal::AuthorityRevoked => Reason::CertificateRevoked,
        Refusal::Expired => Reason::CertificateExpired,
        _ => Reason::CertificateUnverified,
    }
}

fn decide(gateway: &Gateway, live: &LiveSession) -> Result<Grant, Denial> {
    let session = live.session();
    check_standing(gateway, session).map_err(|reason| denial(gateway, reason))?;
    let mut snapshot = gateway.feed.current();
    let mut grant = ask(gateway, session, &snapshot)?;
    attach(live, &grant);
    // Pinned by `registry/races.rs`: whoever published after the snapshot was read either finds the session under what
    // was just attached, or is seen here.
    loop {
        let current = gateway.feed.current();
        if current.revision == snapshot.revision {
            return Ok(grant);
        }
        snapshot = current;
        let again = ask(gateway, session, &snapshot)?;
        grant = again;
        attach(live, &grant);
    }
}

fn attach(live: &LiveSession, grant: &Grant) {
    live.guard().attach(Authority::of(grant));
}

fn ask(gateway: &Gateway, session: &Session, snapshot: &Snapshot) -> Result<Grant, Denial> {
    match session.asking(None, gateway.clock.now()) {
        Some(asking) => snapshot.decide(&asking),
        None => Err(denial(gateway, Reason::InternalFault)),
    }
}

fn check_gateway(gateway: &Gateway) -> Result<(), Denial> {
    match gateway.unavailable() {
        Some(reason) => Err(denial(gateway, reason)),
        None => Ok(()),
    }
}

fn check_rate(gateway: &Gateway, device: &DeviceId) -> Result<(), Denial> {
    let allowed = gateway.settings.load().limits.connects_per_second;
    if allowed > 0 && gateway.rates.observe(device) > u64::from(allowed) {
        return Err(denial(gateway, Reason::RateLimited));
    }
    Ok(())
}

/// The session is entered already, so it counts itself: two that arrive together can never both be one too many and stay.
fn check_sessions(gateway: &Gateway, session: &Session, grant: &Grant) -> Result<(), Denial> {
    let limits = &gateway.settings.load().limits;
    let manifest = &grant.manifest.manifest;
    let of_device = gateway.registry.count(&Subject::Device(session.device.device.clone()));
    let of_manifest = gateway.registry.count(&Subject::Manifest(manifest.id.clone()));
    let over = gateway.registry.len() > limits.sessions as usize
        || of_device > limits.sessions_per_device as usize
        || manifest.network.sessions.is_some_and(|sessions| of_manifest > sessions as usize);
    if over { Err(denial(gateway, Reason::SessionLimitReached)) } else { Ok(()) }
}

fn denial(gateway: &Gateway, reason: Reason) -> Denial {
    Denial { reason, rule: None, manifest: None, revision: gateway.feed.current().revision }
}

/// Requests per device in the running second. An estimate that may be high by a hash collision and is never low.
pub struct ConnectRates(Rate);

impl ConnectRates {
    /// Counters at nought.
    #[must_use]
    pub fn new() -> Self {
        Self(Rate::new(Duration::from_secs(1)))
    }

    /// Counts one request of `device` and returns how many there were in this second.
    fn observe(&self, device: &DeviceId) -> u64 {
        u64::try_from(self.0.observe(device, 1)).unwrap_or(0)
    }
}

impl Default for ConnectRates {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ConnectRates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectRates")
    }
}
