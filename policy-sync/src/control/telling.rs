//! What the control plane records as events: who had what written down, what was refused, and which gateways came and went.

use audit::{Event, EventType, Recorder};

use super::fault::SubmitFault;
use super::meaning::Meaning;

/// Something was written down by this control plane.
pub(super) fn written(recorder: &Recorder, meaning: &Meaning, sequence: u64, by: &str) {
    let event = match meaning {
        Meaning::Manifest(signed) => {
            let manifest = &signed.manifest;
            Event::new(EventType::ManifestAccepted)
                .manifest(&manifest.id)
                .user(&manifest.user)
                .agent(Some(&manifest.agent), &manifest.device)
        }
        Meaning::Withdrawal { id, .. } => Event::new(EventType::ManifestWithdrawn).manifest(id),
        Meaning::Revocation(revocation) => {
            Event::new(EventType::Revoked).target(&revocation.target).detail(&revocation.reason)
        }
        Meaning::Lift(lift) => Event::new(EventType::Lifted).target(&lift.target).detail(&lift.reason),
        Meaning::Crl { summary, .. } => Event::new(EventType::CrlUpdated).detail(format_args!(
            "{}: number {}, {} certificates",
            summary.issuer_text, summary.number, summary.entries
        )),
    };
    recorder.record(event.actor(by).log_sequence(sequence));
}

/// Something was offered and not taken.
pub(super) fn refused(recorder: &Recorder, kind: &str, fault: &SubmitFault, by: &str) {
    let event = Event::new(EventType::SubmissionRefused).detail(format_args!("{kind}: {fault}"));
    recorder.record(event.actor(by));
}

/// The log cannot be written or followed.
pub(super) fn log_fault(recorder: &Recorder, fault: &str) {
    recorder.record(Event::new(EventType::LogFault).detail(fault));
}

/// A gateway has connected.
pub(super) fn connected(recorder: &Recorder, gateway: &str) {
    recorder.record(Event::new(EventType::GatewayConnected).actor(gateway));
}

/// The last connection of a gateway is gone.
pub(super) fn left(recorder: &Recorder, gateway: &str) {
    recorder.record(Event::new(EventType::GatewayLeft).actor(gateway));
}
