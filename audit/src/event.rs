//! One event: what a session, the policy or the gateway itself did.
//!
//! An event is built by whoever saw it happen; the recorder stamps time, identity and sequence. Every text is cut at
//! [`TEXT_LIMIT`] when it enters, so no name a device chose can make a line long. It never carries payload, headers
//! or secrets: there is no field for them.

use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use config::{AgentName, DeviceId, ManifestId, Reason, UserName};

/// The longest text a field holds, in bytes of UTF-8; what is cut off is marked by a trailing `...`.
pub const TEXT_LIMIT: usize = 512;

macro_rules! closed_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The value as it is written in an event.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

closed_list! {
    /// What kind of thing happened. The part before the dot says who: an agent, the control of policy, the system.
    EventType {
        /// A session was let through; its one decision event.
        SessionAllowed = "agent.session_allowed",
        /// A session was refused; its one decision event.
        SessionDenied = "agent.session_denied",
        /// An allowed session is over; its one ending event.
        SessionEnded = "agent.session_ended",
        /// A long session is still open; sent periodically.
        SessionProgress = "agent.session_progress",
        /// Something worth a look that is no decision: see [`Anomaly`].
        Anomaly = "agent.anomaly",
        /// A signed manifest became live.
        ManifestAccepted = "control.manifest_accepted",
        /// A manifest was offered and refused.
        ManifestRefused = "control.manifest_refused",
        /// A manifest stopped being live without being revoked.
        ManifestWithdrawn = "control.manifest_withdrawn",
        /// A revocation was applied.
        Revoked = "control.revoked",
        /// A revocation was offered and refused.
        RevocationRefused = "control.revocation_refused",
        /// A revocation was lifted.
        Lifted = "control.lifted",
        /// A certificate revocation list was taken over.
        CrlUpdated = "control.crl_updated",
        /// A certificate revocation list was offered and refused.
        CrlRefused = "control.crl_refused",
        /// Something was offered to a control plane and refused.
        SubmissionRefused = "control.submission_refused",
        /// A security event of somebody else withdrew authority.
        SignalAccepted = "control.signal_accepted",
        /// A security event named nobody that the settings map; nothing was withdrawn.
        SignalUnmapped = "control.signal_unmapped",
        /// A security event token was offered and refused.
        SignalRefused = "control.signal_refused",
        /// A transmitter of security events said something about its stream.
        SignalStream = "control.signal_stream",
        /// An operator cut a session by hand.
        SessionCut = "control.session_cut",
        /// The gateway began to serve.
        Started = "system.started",
        /// The gateway began to drain.
        Draining = "system.draining",
        /// The gateway is about to end.
        Stopping = "system.stopping",
        /// The policy feed has been silent for longer than allowed.
        PolicyStale = "system.policy_stale",
        /// The policy feed is back.
        PolicyFresh = "system.policy_fresh",
        /// The policy source could not be read.
        PolicySourceFault = "system.policy_source_fault",
        /// Something came from the control plane, or in its name, and was not taken.
        PolicyFrameRefused = "system.policy_frame_refused",
        /// New settings are in force.
        ReloadApplied = "system.reload_applied",
        /// New settings were refused; the old ones stay.
        ReloadRefused = "system.reload_refused",
        /// A device did not get past the TLS handshake.
        HandshakeRefused = "system.handshake_refused",
        /// A gateway has connected to the control plane.
        GatewayConnected = "system.gateway_connected",
        /// The last connection of a gateway to the control plane is gone.
        GatewayLeft = "system.gateway_left",
        /// The log of policy cannot be written or followed.
        LogFault = "system.log_fault",
        /// Events were lost before this line; `lost` counts them.
        AuditGap = "system.audit_gap",
        /// The recorder writes again after a failure, or repaired the end of its file.
        AuditRecovered = "system.audit_recovered",
        /// A part of the program failed unexpectedly.
        InternalFault = "system.internal_fault",
    }
}

closed_list! {
    /// The verb of an enforcement point, as an event names it.
    Decision {
        /// Let through.
        Allowed = "allowed",
        /// Refused.
        Denied = "denied",
        /// Ended after it had been let through.
        Terminated = "terminated",
    }
}

closed_list! {
    /// What made an [`EventType::Anomaly`] worth an event.
    Anomaly {
        /// A destination off the list was let through because its manifest is in report mode.
        WouldDeny = "would_deny",
        /// The TLS name inside a tunnel was not the destination that had been asked for.
        SniMismatch = "sni_mismatch",
        /// An allowed name resolved to an address that is never reachable.
        AddressProhibited = "address_prohibited",
    }
}

/// An event before the recorder has stamped it. Built by chaining; what is not set is left out of the line.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) event_type: EventType,
    pub(crate) agent_id: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) manifest: Option<String>,
    pub(crate) decision: Option<Decision>,
    pub(crate) session: Option<String>,
    pub(crate) destination: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<Reason>,
    pub(crate) policy_revision: Option<u64>,
    pub(crate) upload_bytes: Option<u64>,
    pub(crate) download_bytes: Option<u64>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) certificate: Option<[u8; 32]>,
    pub(crate) residency: Option<String>,
    pub(crate) anomaly: Option<Anomaly>,
    pub(crate) target: Option<String>,
    pub(crate) sessions_cut: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) actor: Option<String>,
    pub(crate) log_sequence: Option<u64>,
    pub(crate) detail: Option<String>,
}

impl Event {
    /// An event of this type with nothing else said.
    #[must_use]
    pub const fn new(event_type: EventType) -> Self {
        Self {
            event_type,
            agent_id: None,
            user: None,
            manifest: None,
            decision: None,
            session: None,
            destination: None,
            address: None,
            rule: None,
            reason: None,
            policy_revision: None,
            upload_bytes: None,
            download_bytes: None,
            duration_ms: None,
            certificate: None,
            residency: None,
            anomaly: None,
            target: None,
            sessions_cut: None,
            lost: None,
            actor: None,
            log_sequence: None,
            detail: None,
        }
    }

    /// An anomaly of this kind.
    #[must_use]
    pub const fn anomaly(anomaly: Anomaly) -> Self {
        let mut event = Self::new(EventType::Anomaly);
        event.anomaly = Some(anomaly);
        event
    }

    /// What kind of event this is.
    #[must_use]
    pub const fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Who acted: `agent:device`. With no agent known the part before the colon is empty.
    #[must_use]
    pub fn agent(mut self, agent: Option<&AgentName>, device: &DeviceId) -> Self {
        let agent = agent.map_or("", AgentName::as_str);
        self.agent_id = Some(capped(format_args!("{agent}:{device}")));
        self
    }

    /// The user the manifest names.
    #[must_use]
    pub fn user(mut self, user: &UserName) -> Self {
        self.user = Some(capped(user));
        self
    }

    /// The manifest that decided, or that the event is about.
    #[must_use]
    pub fn manifest(mut self, manifest: &ManifestId) -> Self {
        self.manifest = Some(capped(manifest));
        self
    }

    /// What was decided.
    #[must_use]
    pub const fn decision(mut self, decision: Decision) -> Self {
        self.decision = Some(decision);
        self
    }

    /// The session's own name.
    #[must_use]
    pub fn session(mut self, session: impl Display) -> Self {
        self.session = Some(capped(session));
        self
    }

    /// The destination as it was asked for, in canonical form when there is one.
    #[must_use]
    pub fn destination(mut self, destination: impl Display) -> Self {
        self.destination = Some(capped(destination));
        self
    }

    /// The address that was dialled, or that was refused.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(capped(address));
        self
    }

    /// The pattern that decided.
    #[must_use]
    pub fn rule(mut self, rule: impl Display) -> Self {
        self.rule = Some(capped(rule));
        self
    }

    /// Why, from the closed list of reasons.
    #[must_use]
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The revision of the policy that decided.
    #[must_use]
    pub const fn revision(mut self, revision: u64) -> Self {
        self.policy_revision = Some(revision);
        self
    }

    /// Bytes handed to the destination, and bytes handed back to the device.
    #[must_use]
    pub const fn bytes(mut self, upload: u64, download: u64) -> Self {
        self.upload_bytes = Some(upload);
        self.download_bytes = Some(download);
        self
    }

    /// Bytes handed to the destination, where the other direction has no meaning.
    #[must_use]
    pub const fn upload_bytes(mut self, upload: u64) -> Self {
        self.upload_bytes = Some(upload);
        self
    }

    /// How long it took or has lasted; written in whole milliseconds.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The SHA-256 fingerprint of the device's certificate.
    #[must_use]
    pub const fn certificate(mut self, fingerprint: [u8; 32]) -> Self {
        self.certificate = Some(fingerprint);
        self
    }

    /// Where the manifest says its data has to stay.
    #[must_use]
    pub fn residency(mut self, residency: impl Display) -> Self {
        self.residency = Some(capped(residency));
        self
    }

    /// What a revocation or another control action is aimed at, such as `device:device-123`.
    #[must_use]
    pub fn target(mut self, target: impl Display) -> Self {
        self.target = Some(capped(target));
        self
    }

    /// How many sessions a control action ended.
    #[must_use]
    pub const fn sessions_cut(mut self, sessions: u64) -> Self {
        self.sessions_cut = Some(sessions);
        self
    }

    /// How many events are missing before this one.
    #[must_use]
    pub const fn lost(mut self, events: u64) -> Self {
        self.lost = Some(events);
        self
    }

    /// On whose behalf a control plane acted, or which gateway it was.
    #[must_use]
    pub fn actor(mut self, actor: impl Display) -> Self {
        self.actor = Some(capped(actor));
        self
    }

    /// Where it stands in the log of policy.
    #[must_use]
    pub const fn log_sequence(mut self, sequence: u64) -> Self {
        self.log_sequence = Some(sequence);
        self
    }

    /// One sentence for people: the reason somebody gave, or what went wrong.
    #[must_use]
    pub fn detail(mut self, detail: impl Display) -> Self {
        self.detail = Some(capped(detail));
        self
    }
}

/// The value's text, cut at [`TEXT_LIMIT`] without ever building the rest of it.
fn capped(value: impl Display) -> String {
    let mut text = Capped { text: String::new(), full: false };
    // The writer reports "full" as an error in order to stop the value from being formatted any further.
    let finished = write!(text, "{value}").is_ok();
    if !finished && text.full {
        text.text.push_str("...");
    }
    text.text
}

struct Capped {
    text: String,
    full: bool,
}

impl fmt::Write for Capped {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = TEXT_LIMIT - 3 - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|at| piece.is_char_boundary(*at)).unwrap_or(0);
        self.text.push_str(piece.get(..cut).unwrap_or_default());
        self.full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_marked() {
        for (input, length) in [("x".repeat(509), 509), ("x".repeat(510), 512), ("é".repeat(100_000), 511)] {
            let text = capped(&input);
            assert_eq!(text.len(), length);
            assert_eq!(text.ends_with("..."), input.len() > TEXT_LIMIT - 3);
        }
    }

    #[test]
    fn every_event_type_says_who_and_is_named_once() {
        let names: std::collections::HashSet<_> = EventType::ALL.iter().map(|t| t.as_str()).collect();
        assert_eq!(names.len(), EventType::ALL.len());
        assert!(names.iter().all(|n| {
            n.split_once('.').is_some_and(|(who, _)| ["agent", "control", "system"].contains(&who))
        }));
    }
}
