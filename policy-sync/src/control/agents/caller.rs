//! Which device asks, and for which agent?

use std::sync::Arc;

use certs::{DeviceVerifier, Refusal, VerifiedDevice};
use config::AgentName;
use http::StatusCode;
use rustls_pki_types::CertificateDer;

/// A device that proved who it is, and the agent it asks for.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The device, and the path that proves it.
    pub(super) device: Arc<VerifiedDevice>,
    /// The certificate's agent, else the one in the query; `None` for the device's only manifest.
    pub(super) agent: Option<AgentName>,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Turned {
    /// The certificate proves no device, or not any more.
    #[error("the certificate proves no device: {0}")]
    Certificate(Refusal),
    /// A certificate of the path was revoked.
    #[error("the certificate was revoked")]
    Revoked,
    /// The query is not `agent=` and a name.
    #[error("the query is not ?agent= and the name of an agent")]
    Query,
    /// The certificate is bound to another agent than the one asked for.
    #[error("the certificate is bound to another agent")]
    OtherAgent,
    /// The device has too many streams open.
    #[error("this device has too many streams open")]
    TooManyStreams,
    /// The log could not be read.
    #[error("try again later")]
    Unavailable,
}

impl Turned {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate_refused",
            Self::Revoked => "certificate_revoked",
            Self::Query => "malformed_query",
            Self::OtherAgent => "other_agent",
            Self::TooManyStreams => "too_many_streams",
            Self::Unavailable => "unavailable",
        }
    }

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Certificate(_) | Self::Revoked | Self::OtherAgent => StatusCode::FORBIDDEN,
            Self::Query => StatusCode::BAD_REQUEST,
            Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// In how many seconds another try may succeed.
    pub(super) const fn retry_after(self) -> Option<u32> {
        match self {
            Self::TooManyStreams => Some(30),
            Self::Unavailable => Some(5),
            Self::Certificate(_) | Self::Revoked | Self::Query | Self::OtherAgent => None,
        }
    }
}

/// Whom these certificates prove, and for which agent they ask; `now` is in Unix seconds.
pub(super) fn identify(
    verifier: &DeviceVerifier,
    presented: &[CertificateDer<'_>],
    query: Option<&str>,
    now: i64,
) -> Result<Caller, Turned> {
    let device = verifier.identify(presented, now).map_err(Turned::Certificate)?;
    let asked = query.filter(|query| !query.is_empty()).map(agent_of).transpose()?;
    let agent = match (&device.agent, asked) {
        (Some(bound), Some(asked)) if *bound != asked => return Err(Turned::OtherAgent),
        (Some(bound), _) => Some(bound.clone()),
        (None, asked) => asked,
    };
    Ok(Caller { device, agent })
}

/// `agent=NAME`. Of the alphabet of names only `@` and `+` may come escaped.
fn agent_of(query: &str) -> Result<AgentName, Turned> {
    let name = query.strip_prefix("agent=").ok_or(Turned::Query)?;
    let plain = name.replace("%40", "@").replace("%2B", "+").replace("%2b", "+");
    plain.parse().map_err(|_| Turned::Query)
}
