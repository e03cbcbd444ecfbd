//! What does an event mean here?
//!
//! The list of CAEP and RISC events that can withdraw something, and those of the framework itself. Everything else is
//! unknown, which is no fault: RFC 8935 §2.1 has it acknowledged.

use config::settings::SignalEvent;

use super::refusal::Refusal;
use super::token::{SecurityEvent, shown};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// What an event means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Authority is to be withdrawn, if the settings say so.
    Withdraws(SignalEvent),
    /// The event is known, and says that nothing is to be withdrawn: a credential was made, a device is compliant again.
    Harmless,
    /// The transmitter tests its stream (SSF §7.1.4).
    Verification,
    /// The transmitter has changed the status of its stream (SSF §7.1.5).
    StreamUpdated {
        /// `enabled`, `paused`, `disabled`, or whatever it says.
        status: String,
        /// Why.
        reason: String,
    },
    /// Nobody here knows it.
    Unknown,
}

impl Meaning {
    /// The word for metrics and records.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Withdraws(event) => event.as_str(),
            Self::Harmless => "harmless",
            Self::Verification => "verification",
            Self::StreamUpdated { .. } => "stream-updated",
            Self::Unknown => "unknown",
        }
    }
}

/// What this event means.
///
/// # Errors
/// An event of a known type without what that type has to say.
pub(super) fn meaning(event: &SecurityEvent) -> Result<Meaning, Refusal> {
    if let Some(kind) = event.uri.strip_prefix(CAEP) {
        return match kind {
            "session-revoked" => Ok(Meaning::Withdraws(SignalEvent::SessionRevoked)),
            "credential-change" => credential_change(event),
            "device-compliance-change" => compliance_change(event),
            _ => Ok(Meaning::Unknown),
        };
    }
    if let Some(kind) = event.uri.strip_prefix(RISC) {
        return Ok(match kind {
            "account-disabled" => Meaning::Withdraws(SignalEvent::AccountDisabled),
            "account-purged" => Meaning::Withdraws(SignalEvent::AccountPurged),
            _ => Meaning::Unknown,
        });
    }
    Ok(match event.uri.strip_prefix(SSF) {
        Some("verification") => Meaning::Verification,
        Some("stream-updated") => Meaning::StreamUpdated {
            status: shown(event.text("status").unwrap_or("unknown")),
            reason: shown(event.text("reason").unwrap_or("no reason given")),
        },
        _ => Meaning::Unknown,
    })
}

/// CAEP §3.3.
fn credential_change(event: &SecurityEvent) -> Result<Meaning, Refusal> {
    match event.text("change_type") {
        Some("revoke" | "delete") => Ok(Meaning::Withdraws(SignalEvent::CredentialChange)),
        Some("create" | "update") => Ok(Meaning::Harmless),
        _ => Err(Refusal::Request("credential-change has no `change_type` of CAEP".into())),
    }
}

/// CAEP §3.5.
fn compliance_change(event: &SecurityEvent) -> Result<Meaning, Refusal> {
    match event.text("current_status") {
        Some("not-compliant") => Ok(Meaning::Withdraws(SignalEvent::DeviceNotCompliant)),
        Some("compliant") => Ok(Meaning::Harmless),
        _ => Err(Refusal::Request("device-compliance-change has no `current_status` of CAEP".into())),
    }
}
