//! What a session passes on its way: its budgets, its place among the others, its gate, and the line that is left of it.

use std::sync::Arc;
use std::time::Duration;

use audit::line::{Stamp, append};
use audit::{Decision, Event, EventType};
use certs::{CertificateId, VerifiedDevice};
use config::Limit;
use jiff::Timestamp;
use proxy::budget::{BudgetSubject, Budgets, Reserved};
use proxy::registry::{Authority, Entry, Kind, Registry};
use uuid::Uuid;

use crate::instructions;
use crate::policy::{NOW, manifest};

const PLENTY: Limit = Limit::Bytes(1 << 40);
/// Sessions of the same device that live meanwhile.
const OTHERS: usize = 1000;

/// Reserving a write in all three budgets, and settling it.
pub(crate) fn budget() {
    let budgets = Budgets::in_memory(NOW).expect("budgets");
    let subject = BudgetSubject {
        device: &"device-1".parse().expect("an identifier"),
        agent: &"agent-1".parse().expect("an identifier"),
        issued_at: NOW - 60,
        expires_at: NOW + 3600,
        manifest_limit: PLENTY,
        rule: Some(("*.example.com:443", PLENTY)),
        session_limit: PLENTY,
    };
    let meter = budgets.meter(&subject, NOW).expect("a meter");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(meter.lease_extended()).expect("a lease");
    instructions("meter_reserve_and_settle", 1000, || {
        let Reserved::Granted(bytes) = meter.reserve(64) else { panic!("a kibibyte is left of a lease") };
        meter.settle(bytes, bytes);
    });
}

/// Entering, being found by what a decision says, and leaving; and the gate of one that stays.
pub(crate) fn registry() {
    let registry = Arc::new(Registry::default());
    let device = Arc::new(device());
    let live = Arc::new(manifest());
    let enter = || {
        let destination = "api.example.com:443".parse().expect("a destination");
        let entry =
            Entry { device: Arc::clone(&device), requested_agent: None, destination: Some(destination) };
        let guard = registry.enter(Kind::Tunnel, entry);
        guard.attach(Authority { manifest: Arc::clone(&live), rule: None, revision: 1 });
        guard
    };
    let others: Vec<_> = (0..OTHERS).map(|_| enter()).collect();
    instructions("registry_enter_and_leave", 1000, || drop(enter()));
    let gate = &others.first().expect("others live").session().gate;
    instructions("gate_enter_and_leave", 10_000, || assert!(gate.enter_write().is_some()));
}

/// The decision event of a session as its line in the file.
pub(crate) fn event_line() {
    let event = Event::new(EventType::SessionAllowed)
        .agent(Some(&"cowork-v1.0".parse().expect("a name")), &"device-123".parse().expect("a name"))
        .user(&"alice@example.com".parse().expect("a name"))
        .manifest(&"cm-987".parse().expect("a name"))
        .decision(Decision::Allowed)
        .session(Uuid::nil())
        .destination("api.example.com:443")
        .address([192, 0, 2, 1].into())
        .rule("*.example.com:443")
        .revision(12)
        .certificate([0xab; 32])
        .duration(Duration::from_millis(3));
    let stamp = Stamp { at: Timestamp::UNIX_EPOCH, event_id: Uuid::nil(), sequence: 7, gateway: "gw-1" };
    let mut lines = Vec::with_capacity(4096);
    instructions("write_event_line", 1000, || {
        lines.clear();
        append(&mut lines, &event, stamp);
        assert!(!lines.is_empty());
    });
}

fn device() -> VerifiedDevice {
    let certificate = |number: u8| CertificateId {
        fingerprint: [number; 32],
        issuer: [1, 2].into(),
        serial: [number].into(),
    };
    let chain = vec![certificate(1), certificate(2)];
    VerifiedDevice {
        device: "device-1".parse().expect("an identifier"),
        agent: None,
        leaf: certificate(1),
        chain,
        issuer_keys: vec![[1; 32], [2; 32]],
        not_after: NOW + 3600,
        subject: "CN=device-1".into(),
    }
}
