//! Why a delivery is not taken, in the words of RFC 8935 §2.4.

use std::time::Duration;

use super::metrics::Outcome;
use crate::control::jwks::TokenFault;

/// Why a delivery is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is no security event token, or one that is not in order.
    #[error("{0}")]
    Request(String),
    /// Its signature is not by a key of its issuer.
    #[error("{0}")]
    Key(String),
    /// Nobody of this name is configured.
    #[error("the issuer is not known here")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the token is meant for another audience")]
    Audience,
    /// The request does not carry the agreed `Authorization`.
    #[error("the request is not authorized")]
    Authentication,
    /// Too fast, or more than can be remembered.
    #[error("too many tokens; send this one again")]
    TooMany(Duration),
    /// What follows from it could not be done now.
    #[error("not now: {0}")]
    Unavailable(String),
}

impl From<TokenFault> for Refusal {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Malformed(_) => Self::Request(fault.to_string()),
            TokenFault::Algorithm | TokenFault::UnknownKey | TokenFault::Signature => {
                Self::Key(fault.to_string())
            }
            TokenFault::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl Refusal {
    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::Request(_) => Outcome::InvalidRequest,
            Self::Key(_) => Outcome::InvalidKey,
            Self::Issuer => Outcome::InvalidIssuer,
            Self::Audience => Outcome::InvalidAudience,
            Self::Authentication => Outcome::AuthenticationFailed,
            Self::TooMany(_) => Outcome::TooMany,
            Self::Unavailable(_) => Outcome::Unavailable,
        }
    }
}
