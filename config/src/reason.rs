//! Why: the closed list of reasons, the same in answers, events, metrics and `explain`.
//!
//! One word per reason, never reused for another meaning. This module knows nothing of status codes: how a reason is
//! answered is decided where answers are written.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $hint:literal;)*) => {
        /// Why a session was denied, or why it ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(
                $(#[$doc])*
                #[doc = $hint]
                $name,
            )*
        }

        impl Reason {
            /// Every reason, in the order of a session's life.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason as one `snake_case` word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// One plain sentence for the person who meets it.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self {
                    $(Self::$name => $hint,)*
                }
            }
        }
    };
}

reasons! {
    // The request itself.
    MalformedRequest = "malformed_request", "The request is not well-formed HTTP.";
    MalformedDestination = "malformed_destination", "The destination is not a valid host and port.";
    MethodNotAllowed = "method_not_allowed", "This method is not served; tunnels use CONNECT.";
    HeadTooLarge = "head_too_large", "The request head is over 16 KiB or has more than 64 fields.";
    RequestLoop = "request_loop", "The request has already passed through this gateway.";
    RequestTimeout = "request_timeout", "The request head did not arrive in time.";

    // Whose authority.
    ManifestRequired = "manifest_required", "This device has several manifests: name the agent as the proxy user.";
    NoManifest = "no_manifest", "No manifest is in force for this device and agent.";
    ManifestExpired = "manifest_expired", "The manifest has expired: have it signed again.";
    ManifestRevoked = "manifest_revoked", "The manifest was revoked.";
    DeviceRevoked = "device_revoked", "The device was revoked.";
    UserRevoked = "user_revoked", "The user was revoked.";
    AgentRevoked = "agent_revoked", "The agent was revoked.";
    CertificateRevoked = "certificate_revoked", "The certificate was revoked.";
    CertificateExpired = "certificate_expired", "The certificate has expired.";
    CertificateUnverified = "certificate_unverified", "Whether the certificate is still good cannot be verified.";
    AllRevoked = "all_revoked", "All access through the gateways is suspended.";

    // Where to.
    DestinationNotListed = "destination_not_listed", "The manifest does not list this destination.";
    DestinationDenied = "destination_denied", "The manifest denies this destination.";
    DestinationAmbiguous = "destination_ambiguous", "Two equally specific rules of the manifest match, which is a denial.";
    DestinationForbidden = "destination_forbidden", "The gateway forbids this destination to everyone.";
    AddressProhibited = "address_prohibited", "The destination resolves to an address that must not be reached.";
    SniMissing = "sni_missing", "The TLS handshake does not name the destination (no SNI).";
    SniMismatch = "sni_mismatch", "The TLS handshake names another host than the destination.";
    NotTls = "not_tls", "The manifest expects TLS to this destination, and the first bytes are not TLS.";
    ClientHelloMalformed = "client_hello_malformed", "The TLS handshake does not begin with a valid ClientHello.";
    FirstFlightTimeout = "first_flight_timeout", "The first bytes of the tunnel did not arrive in time.";

    // How much.
    UploadLimitExceeded = "upload_limit_exceeded", "The session reached its upload limit.";
    UploadBudgetSpent = "upload_budget_spent", "What is left of the upload limit does not cover this upload.";
    SessionLimitReached = "session_limit_reached", "Too many sessions are open: close some, then retry.";
    RateLimited = "rate_limited", "Too many requests in a short time: slow down, then retry.";
    ConnectionLimitReached = "connection_limit_reached", "The gateway has no room for another connection: retry later.";

    // The gateway itself.
    Draining = "draining", "The gateway is shutting down: retry, and another one answers.";
    PolicyStale = "policy_stale", "The gateway has lost its policy feed and opens no new sessions.";
    NoPolicy = "no_policy", "The gateway has no policy yet.";
    AuditUnavailable = "audit_unavailable", "The gateway cannot record what it would allow, so it allows nothing.";
    BudgetUnavailable = "budget_unavailable", "Whether the upload limit still has room cannot be asked for: retry later.";
    InternalFault = "internal_fault", "Something failed inside the gateway.";

    // Upstream.
    DnsFailed = "dns_failed", "The destination's name could not be looked up.";
    DnsTimeout = "dns_timeout", "Looking up the destination's name took too long.";
    DnsRefused = "dns_refused", "The destination's name does not exist.";
    ConnectionRefused = "connection_refused", "The destination refused the connection.";
    ConnectionTimeout = "connection_timeout", "The destination did not answer in time.";
    ConnectionFailed = "connection_failed", "The destination could not be reached.";
    UpstreamFault = "upstream_fault", "The destination broke the connection off or answered nonsense.";

    // How a session ended that was allowed.
    Completed = "completed", "The session completed.";
    DownstreamClosed = "downstream_closed", "The device closed the session.";
    DownstreamFault = "downstream_fault", "The connection to the device failed.";
    IdleTimeout = "idle_timeout", "Nothing moved in the session for too long.";
    SessionLifetime = "session_lifetime", "The session reached the longest age that the gateway permits.";
    OperatorCut = "operator_cut", "An operator ended the session.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is none of the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such reason")]
pub struct UnknownReason;

impl std::str::FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_reason_is_its_own_name_in_snake_case() {
        for reason in Reason::ALL {
            let mut snake = String::new();
            for letter in format!("{reason:?}").chars() {
                if letter.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            assert_eq!(reason.as_str(), snake);
            assert_eq!(snake.parse(), Ok(*reason));
        }
    }

    #[test]
    fn every_reason_has_its_own_plain_sentence() {
        let hints: HashSet<_> = Reason::ALL.iter().map(|reason| reason.hint()).collect();
        assert_eq!(hints.len(), Reason::ALL.len());
        assert!(hints.iter().all(|hint| hint.ends_with('.') && hint.is_ascii()));
    }
}
