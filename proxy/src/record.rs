//! What is said of a session afterwards? One decision event and one ending event, at the latest when it is dropped.
//!
//! A [`LiveSession`] is a place in the registry together with the duty to account for it. Whatever way its task goes
//! (an answer, a fault, a panic, a runtime that shuts down), dropping it leaves the registry, gives the counters to the
//! metrics and writes what has not been written. Nothing here decides anything.

use std::net::IpAddr;
use std::sync::Arc;

use audit::{Anomaly, Decision, Event, EventType};
use certs::VerifiedDevice;
use config::Reason;
use policy_sync::Denial;

use crate::gateway::Gateway;
use crate::registry::{Authority, Entry, Kind, Session, SessionGuard};
use crate::reply::Refusal;

/// A registered session and the account of it.
#[derive(Debug)]
pub struct LiveSession {
    gateway: Arc<Gateway>,
    guard: SessionGuard,
    account: Account,
    address: Option<IpAddr>,
}

/// How far the account has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Account {
    Undecided,
    Allowed,
    Closed,
}

impl LiveSession {
    /// Enters a session; from here on a revocation finds it.
    #[must_use]
    pub fn enter(gateway: &Arc<Gateway>, kind: Kind, entry: Entry) -> Self {
        gateway.metrics.live.with_label_values(&[kind.as_str()]).inc();
        let guard = gateway.registry.enter(kind, entry);
        Self { gateway: Arc::clone(gateway), guard, account: Account::Undecided, address: None }
    }

    /// The session itself.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.guard.session()
    }

    /// The place in the registry.
    #[must_use]
    pub fn guard(&self) -> &SessionGuard {
        &self.guard
    }

    /// Accounts for a session that was let through to `address`.
    pub fn allowed(&mut self, address: Option<IpAddr>) {
        self.account = Account::Allowed;
        self.address = address;
        self.gateway.metrics.decisions.with_label_values(&[Decision::Allowed.as_str(), "none"]).inc();
        self.gateway.recorder.record(self.event(EventType::SessionAllowed).decision(Decision::Allowed));
    }

    /// Accounts for a destination off the list that report mode let through.
    pub fn would_deny(&self, reason: Reason) {
        let event = self.described(Event::anomaly(Anomaly::WouldDeny));
        self.gateway.recorder.record(event.reason(reason));
    }

    /// Accounts for a refusal by the policy and turns it into the answer.
    #[must_use]
    pub fn denied(mut self, denial: &Denial) -> Refusal {
        let mut refusal = self.refusal(denial.reason, None);
        refusal.rule.clone_from(&denial.rule);
        refusal.revision = denial.revision;
        let mut event = self.event(EventType::SessionDenied).revision(denial.revision);
        if let Some(live) = &denial.manifest {
            let manifest = &live.manifest;
            refusal.manifest = Some(manifest.id.clone());
            event = event
                .agent(Some(&manifest.agent), &self.session().device.device)
                .user(&manifest.user)
                .manifest(&manifest.id);
        }
        if let Some(rule) = &denial.rule {
            event = event.rule(rule);
        }
        self.close_undecided(event, denial.reason);
        refusal
    }

    /// Accounts for a session that does not open, whatever the reason, and turns it into the answer.
    #[must_use]
    pub fn refused(mut self, reason: Reason, detail: Option<&'static str>) -> Refusal {
        self.close_undecided(self.event(EventType::SessionDenied), reason);
        self.refusal(reason, detail)
    }

    /// The answer that says `reason` for this session. Accounts for nothing.
    #[must_use]
    pub fn refusal(&self, reason: Reason, detail: Option<&'static str>) -> Refusal {
        let session = self.session();
        let authority = session.authority();
        let authority = authority.as_deref();
        Refusal {
            reason,
            destination: session.destination.clone(),
            manifest: authority.map(|authority| authority.manifest.manifest.id.clone()),
            rule: authority.and_then(|authority| authority.rule.clone()),
            revision: authority
                .map_or_else(|| self.gateway.feed.current().revision, |authority| authority.revision),
            session: Some(session.id),
            detail,
        }
    }

    /// Accounts for the end of a session that had been let through.
    pub fn ended(mut self, reason: Reason) {
        self.close_allowed(reason);
    }

    fn close_undecided(&mut self, event: Event, reason: Reason) {
        self.account = Account::Closed;
        self.gateway.metrics.decisions.with_label_values(&[Decision::Denied.as_str(), reason.as_str()]).inc();
        let event = event.decision(Decision::Denied).reason(reason);
        self.gateway.recorder.record(event.duration(self.session().age()));
        if reason == Reason::AddressProhibited {
            self.gateway.recorder.record(self.described(Event::anomaly(Anomaly::AddressProhibited)));
        }
    }

    fn close_allowed(&mut self, reason: Reason) {
        self.account = Account::Closed;
        let session = Arc::clone(self.session());
        self.gateway.metrics.endings.with_label_values(&[reason.as_str()]).inc();
        let (upload, download) = (session.uploaded(), session.downloaded());
        self.gateway.fold_bytes(&session);
        if let Some(since) = session.since_cut() {
            self.gateway.metrics.close_seconds.observe(since.as_secs_f64());
        }
        let mut event = self.event(EventType::SessionEnded).reason(reason);
        if !is_orderly(reason) {
            event = event.decision(Decision::Terminated);
        }
        self.gateway.recorder.record(event.bytes(upload, download).duration(session.age()));
        if reason == Reason::SniMismatch {
            self.gateway.recorder.record(self.described(Event::anomaly(Anomaly::SniMismatch)));
        }
    }

    fn event(&self, event_type: EventType) -> Event {
        self.described(Event::new(event_type))
    }

    fn described(&self, event: Event) -> Event {
        let event = describe(event, self.session());
        match self.address {
            Some(address) => event.address(address),
            None => event,
        }
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        let kind = self.session().kind;
        self.gateway.metrics.live.with_label_values(&[kind.as_str()]).dec();
        if kind == Kind::Connection {
            return;
        }
        // The task was dropped where it stood: the session was cut, the process shuts down, or the device is gone.
        match self.account {
            Account::Closed => {}
            Account::Undecided => {
                let event = self.event(EventType::SessionDenied);
                self.close_undecided(event, self.session().cut().unwrap_or(Reason::DownstreamClosed));
            }
            Account::Allowed => self.close_allowed(self.session().cut().unwrap_or(Reason::DownstreamClosed)),
        }
    }
}

/// Accounts for a request that was refused before it became a session: malformed, or not one that is served.
pub fn account_refused_request(gateway: &Gateway, device: &VerifiedDevice, refusal: &Refusal) {
    if refusal.session.is_some() {
        return;
    }
    let reason = refusal.reason;
    gateway.metrics.decisions.with_label_values(&[Decision::Denied.as_str(), reason.as_str()]).inc();
    let mut event = Event::new(EventType::SessionDenied)
        .agent(device.agent.as_ref(), &device.device)
        .certificate(device.leaf.fingerprint)
        .decision(Decision::Denied)
        .reason(reason);
    if let Some(detail) = refusal.detail {
        event = event.detail(detail);
    }
    gateway.recorder.record(event);
}

/// Whether an ending is one that nobody enforced.
fn is_orderly(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Completed | Reason::DownstreamClosed | Reason::DownstreamFault | Reason::UpstreamFault
    )
}

/// Fills in what is known of a session: who, by which manifest, to where.
#[must_use]
pub fn describe(event: Event, session: &Session) -> Event {
    let mut event = event.session(session.id).certificate(session.device.leaf.fingerprint);
    if let Some(destination) = &session.destination {
        event = event.destination(destination);
    }
    match session.authority() {
        Some(authority) => describe_authority(event, session, &authority),
        None => {
            let agent = session.device.agent.as_ref().or(session.requested_agent.as_ref());
            event.agent(agent, &session.device.device)
        }
    }
}

fn describe_authority(event: Event, session: &Session, authority: &Authority) -> Event {
    let manifest = &authority.manifest.manifest;
    let mut event = event
        .agent(Some(&manifest.agent), &session.device.device)
        .user(&manifest.user)
        .manifest(&manifest.id)
        .revision(authority.revision);
    if let Some(rule) = &authority.rule {
        event = event.rule(rule);
    }
    if let Some(residency) = &manifest.residency {
        event = event.residency(residency);
    }
    event
}
