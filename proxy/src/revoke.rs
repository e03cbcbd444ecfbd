//! What does a change of policy do to live sessions? Finds those it touches, decides each again, and trips the denied.
//!
//! The decision function is the one that opened them, so a narrowed manifest cuts exactly the sessions that it no longer
//! allows and a revocation needs no rules of its own. [`Revoker::enforce`] runs on the thread that published the
//! change, with no queue in between: when it returns, no touched session can hand another byte to an origin.

use std::sync::{Arc, Weak};
use std::time::Instant;

use audit::{Event, EventType};
use certs::{Document, Refusal, Trust};
use config::Reason;
use config::files::{Reach, Readers, replace};
use policy_sync::{Change, Enforcer, Grant, Receipt, Snapshot, Subjects, Touched};

use crate::assemble::crl_marks_path;
use crate::authorize::reason_of;
use crate::gateway::Gateway;
use crate::registry::{Authority, Registry, Session, Subject, Tripped};
use crate::session::budget_subject;

/// The gateway's side of the policy feed.
#[derive(Debug)]
pub struct Revoker(Weak<Gateway>);

impl Revoker {
    /// An enforcer for `gateway`, which it does not keep alive.
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        Self(Arc::downgrade(gateway))
    }
}

impl Enforcer for Revoker {
    fn enforce(&self, snapshot: &Arc<Snapshot>, change: &Change) -> Receipt {
        let Some(gateway) = self.0.upgrade() else { return Receipt::default() };
        let began = Instant::now();
        let now = gateway.clock.now();
        let touched = touched(&gateway.registry, &change.touched);
        let tripped = gateway.registry.trip(&touched, |session| redecide(&gateway, snapshot, session, now));
        let latency = began.elapsed();
        if is_of_certificates(&change.touched) {
            gateway.verifier.end_epoch();
        }
        gateway.metrics.policy_revision.set(i64::try_from(change.revision).unwrap_or(i64::MAX));
        account(&gateway, tripped, latency);
        Receipt { sessions_cut: tripped.sessions, upload_bytes: tripped.upload_bytes, latency }
    }
}

/// Whether a change concerns who may hold a connection: then no ticket of before is taken any more. What it says of
/// manifests, users and agents is decided request by request.
fn is_of_certificates(touched: &Touched) -> bool {
    match touched {
        Touched::All => true,
        Touched::Some(Subjects { devices, certificates, .. }) => {
            !devices.is_empty() || !certificates.is_empty()
        }
    }
}

/// Ends every session whose certificate path does not hold under the trust that is now in force. To be called after
/// the trust was swapped.
pub fn enforce_trust(gateway: &Gateway) -> Tripped {
    let began = Instant::now();
    let now = gateway.clock.now();
    let trust = gateway.verifier.trust();
    let all = gateway.registry.snapshot();
    let tripped = gateway.registry.trip(&all, |session| {
        let refusal = trust.recheck(&session.device, now).err()?;
        // A CRL that is missing or has run out refuses new sessions; it is no word about the ones that live.
        let no_word = matches!(refusal, Refusal::CrlStale | Refusal::RevocationUnknown);
        (!no_word).then(|| reason_of(refusal))
    });
    account(gateway, tripped, began.elapsed());
    tripped
}

/// Puts CRLs that came with the policy in force, and ends the sessions of what they revoke.
pub fn take_crls(gateway: &Gateway, documents: &[Document]) {
    let update = gateway.verifier.add_crls(documents, gateway.clock.now());
    remember_crl_numbers(gateway, &update.trust);
    let tripped = enforce_trust(gateway);
    for refused in &update.refused {
        tracing::error!(%refused, "crl refused");
        gateway.recorder.record(Event::new(EventType::CrlRefused).detail(refused));
    }
    let event =
        Event::new(EventType::CrlUpdated).sessions_cut(tripped.sessions).upload_bytes(tripped.upload_bytes);
    gateway.recorder.record(event.detail(format_args!("{} newly revoked", update.newly_revoked.len())));
}

/// Keeps the highest CRL numbers for the next start, so that an older CRL is not believed then.
pub fn remember_crl_numbers(gateway: &Gateway, trust: &Trust) {
    let path = crl_marks_path(&gateway.settings.load().gateway.state_dir);
    if let Err(error) =
        replace(&path, trust.high_water().to_text().as_bytes(), Readers::Everybody, Reach::Disk)
    {
        tracing::error!(%error, path = %path.display(), "crl numbers not kept: after a restart an older crl would be believed");
    }
}

fn account(gateway: &Gateway, tripped: Tripped, latency: std::time::Duration) {
    if tripped.sessions > 0 {
        gateway.metrics.trip_seconds.observe(latency.as_secs_f64());
        tracing::info!(sessions = tripped.sessions, ?latency, "sessions tripped");
    }
}

/// Why a session may not go on under `snapshot`, if it may not. One that may go on under another manifest than the one
/// that opened it (a superseding one) belongs to that one from now on.
fn redecide(gateway: &Gateway, snapshot: &Snapshot, session: &Arc<Session>, now: i64) -> Option<Reason> {
    let authority = session.authority();
    let Some((authority, asking)) = authority.as_deref().zip(session.asking(authority.as_deref(), now))
    else {
        // A connection, or a session not decided yet: that one reads the policy after this change was published.
        return snapshot.standing(&session.device.device, &session.device.chain).err();
    };
    match snapshot.decide(&asking) {
        Ok(grant) => {
            if !Arc::ptr_eq(&grant.manifest, &authority.manifest) {
                let authority = Authority::of(&grant);
                regrant(gateway, &grant, authority.rule.as_deref(), session, now);
                gateway.registry.attach(session, authority);
            }
            None
        }
        Err(denial) => Some(denial.reason),
    }
}

/// Lets the limits of a superseding manifest hold for the sessions that are open.
fn regrant(gateway: &Gateway, grant: &Grant, rule: Option<&str>, session: &Session, now: i64) {
    let limits = &gateway.settings.load().limits;
    let subject = budget_subject(&session.device.device, grant, rule, limits);
    if let Some(meter) = session.meter() {
        meter.set_session_limit(subject.session_limit);
    }
    if let Err(fault) = gateway.budgets.regrant(&subject, now) {
        tracing::error!(%fault, session = %session.id, "limits of the superseding manifest not applied");
    }
}

fn touched(registry: &Registry, touched: &Touched) -> Vec<Arc<Session>> {
    let subjects = match touched {
        Touched::All => return registry.snapshot(),
        Touched::Some(subjects) => subjects,
    };
    let mut sessions: Vec<_> =
        Subject::all_of(subjects).iter().flat_map(|subject| registry.of(subject)).collect();
    sessions.sort_unstable_by_key(|session| session.key);
    sessions.dedup_by_key(|session| session.key);
    sessions
}
