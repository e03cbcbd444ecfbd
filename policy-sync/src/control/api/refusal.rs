//! What does the API answer when it does not do what was asked? One shape, and nothing of the request but names of fields.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use config::ApiRole;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::assembly::NotAdmitted;
use crate::control::callers::TurnedAway;
use crate::control::fault::SubmitFault;
use crate::control::tokens::Unproven;
use crate::signed::SignedFault;
use crate::transport::{AppendFault, TransportFault};

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Error)]
pub struct ErrorView {
    /// What is wrong, as one word for programs.
    pub error: String,
    /// The field of the body, the query or the path that it is about.
    pub field: Option<String>,
    /// What is wrong, and what to do, for people.
    pub hint: String,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody knows who asks.
    Turned(TurnedAway),
    /// Somebody without a role that is enough; these would be.
    Role(&'static [ApiRole]),
    /// The approval of one's own manifest, or a second one of the same person.
    OwnApproval,
    /// No such path.
    NoPath,
    /// The path is served, but only for these methods.
    Method(String),
    /// A body that is not declared as what it has to be.
    MediaType(&'static str),
    /// A body over so many bytes.
    TooLarge(usize),
    /// A body that did not come in time.
    Slow,
    /// A field of the body, the query or the path is wrong.
    Field { field: Cow<'static, str>, hint: Cow<'static, str> },
    /// What is signed is not in order.
    Signed(String),
    /// This control plane would have to sign, and has no key for it.
    NoKey(String),
    /// It cannot be as things stand.
    Conflict(String),
    /// There is nothing of this name.
    Unknown,
    /// The records before this sequence are not kept one by one any more.
    Gone,
    /// It could not be written down or read.
    NotDurable(String),
    /// Too much is waiting.
    Busy,
}

impl Refusal {
    pub(super) fn field(field: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::Field { field: field.into(), hint: hint.into() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Turned(turned) => match turned {
                TurnedAway::NoToken | TurnedAway::Unproven(Unproven::Unknown | Unproven::Expired) => {
                    StatusCode::UNAUTHORIZED
                }
                TurnedAway::Unproven(Unproven::NoRole) => StatusCode::FORBIDDEN,
                TurnedAway::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                TurnedAway::Attempts(_) | TurnedAway::Requests(_) => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Role(_) | Self::OwnApproval => StatusCode::FORBIDDEN,
            Self::NoPath | Self::Unknown => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Field { .. } => StatusCode::BAD_REQUEST,
            Self::Signed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoKey(_) | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone => StatusCode::GONE,
            Self::NotDurable(_) | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error(&self) -> &'static str {
        match self {
            Self::Turned(turned) => match turned {
                TurnedAway::NoToken => "no_token",
                TurnedAway::Unproven(Unproven::Unknown) => "unknown_token",
                TurnedAway::Unproven(Unproven::Expired) => "expired_token",
                TurnedAway::Unproven(Unproven::NoRole) => "missing_role",
                TurnedAway::Unavailable => "issuer_unavailable",
                TurnedAway::Attempts(_) => "too_many_attempts",
                TurnedAway::Requests(_) => "too_many_requests",
            },
            Self::Role(_) => "missing_role",
            Self::OwnApproval => "own_approval",
            Self::NoPath => "no_such_path",
            Self::Method(_) => "method_not_allowed",
            Self::MediaType(_) => "media_type",
            Self::TooLarge(_) => "too_large",
            Self::Slow => "too_slow",
            Self::Field { .. } => "malformed",
            Self::Signed(_) => "not_in_order",
            Self::NoKey(_) => "no_key",
            Self::Conflict(_) => "conflict",
            Self::Unknown => "not_found",
            Self::Gone => "compacted",
            Self::NotDurable(_) => "not_durable",
            Self::Busy => "busy",
        }
    }

    fn hint(&self) -> Cow<'_, str> {
        match self {
            Self::Turned(turned) => match turned {
                TurnedAway::NoToken => "send `Authorization: Bearer` and a token, once".into(),
                TurnedAway::Unproven(Unproven::Unknown) => "the token is not known here".into(),
                TurnedAway::Unproven(Unproven::Expired) => "the token has expired".into(),
                TurnedAway::Unproven(Unproven::NoRole) => {
                    "the token is genuine, but none of its roles means anything here".into()
                }
                TurnedAway::Unavailable => {
                    "the keys of the issuer of this token cannot be had at the moment".into()
                }
                TurnedAway::Attempts(_) => "too many attempts without a good token from this address".into(),
                TurnedAway::Requests(_) => "too many requests with this token".into(),
            },
            Self::Role(roles) => {
                let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                format!("this needs one of the roles {}", names.join(", ")).into()
            }
            Self::OwnApproval => {
                "nobody approves what he submitted himself, nor twice: another person has to".into()
            }
            Self::NoPath => "the paths are listed by GET /api/v1/openapi.json".into(),
            Self::Method(allowed) => format!("this path is served for {allowed}").into(),
            Self::MediaType(expected) => format!("send Content-Type: {expected}").into(),
            Self::TooLarge(most) => format!("the body may have {most} bytes").into(),
            Self::Slow => "the body did not come in time".into(),
            Self::Field { hint, .. } => hint.as_ref().into(),
            Self::Signed(why) | Self::NoKey(why) | Self::Conflict(why) | Self::NotDurable(why) => {
                why.as_str().into()
            }
            Self::Unknown => "there is nothing of this name in force".into(),
            Self::Gone => "the records up to here are in a snapshot by now; ask for later ones".into(),
            Self::Busy => "too much is waiting to be written down; try again".into(),
        }
    }
}

impl From<SubmitFault> for Refusal {
    fn from(fault: SubmitFault) -> Self {
        match fault {
            SubmitFault::Refused(fault) => fault.into(),
            SubmitFault::Malformed(why) => Self::Signed(why),
            SubmitFault::Crl(why) => Self::Signed(why.to_string()),
            SubmitFault::NotAdmitted(
                why @ (NotAdmitted::FromTheFuture | NotAdmitted::Superseded | NotAdmitted::Conflict),
            ) => Self::Conflict(why.to_string()),
            fault @ (SubmitFault::OldCrl { .. } | SubmitFault::NotLiftable) => {
                Self::Conflict(fault.to_string())
            }
            fault @ SubmitFault::NoKey(_) => Self::NoKey(fault.to_string()),
            SubmitFault::Unknown => Self::Unknown,
            fault @ SubmitFault::NotDurable(_) => Self::NotDurable(fault.to_string()),
            SubmitFault::Busy => Self::Busy,
        }
    }
}

impl From<SignedFault> for Refusal {
    fn from(fault: SignedFault) -> Self {
        match fault {
            // Lines of the manifest itself have no business in an answer; places and reasons do.
            SignedFault::Manifest(problems) => {
                let said = problems.iter().map(|problem| match problem.path.as_str() {
                    "" => problem.message.clone(),
                    path => format!("{path}: {}", problem.message),
                });
                Self::Signed(format!("the manifest is not in order: {}", said.collect::<Vec<_>>().join("; ")))
            }
            fault @ (SignedFault::Envelope(_) | SignedFault::Roles(_) | SignedFault::Payload(_)) => {
                Self::Signed(fault.to_string())
            }
        }
    }
}

impl From<TransportFault> for Refusal {
    fn from(fault: TransportFault) -> Self {
        Self::NotDurable(format!("the log of policy cannot be used: {fault}"))
    }
}

impl From<AppendFault> for Refusal {
    fn from(fault: AppendFault) -> Self {
        match fault {
            AppendFault::Taken => Self::Conflict("somebody else has just changed it; look again".into()),
            AppendFault::Transport(fault) => fault.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let field = match &self {
            Self::Field { field, .. } => Some(field.to_string()),
            _ => None,
        };
        let body = ErrorView { error: self.error().into(), field, hint: self.hint().into_owned() };
        let mut response = (self.status(), Json(body)).into_response();
        let fields = response.headers_mut();
        let whole = |wait: Duration| HeaderValue::from(wait.as_secs().saturating_add(1));
        match &self {
            Self::Turned(TurnedAway::NoToken) => {
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"portcullis\""));
            }
            Self::Turned(TurnedAway::Unproven(Unproven::Unknown | Unproven::Expired)) => {
                let challenge = "Bearer realm=\"portcullis\", error=\"invalid_token\"";
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Turned(TurnedAway::Attempts(wait) | TurnedAway::Requests(wait)) => {
                fields.insert(RETRY_AFTER, whole(*wait));
            }
            Self::Busy | Self::NotDurable(_) | Self::Turned(TurnedAway::Unavailable) => {
                fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Method(allowed) => {
                fields.extend(HeaderValue::from_str(allowed).ok().map(|allowed| (ALLOW, allowed)));
            }
            _ => {}
        }
        debug_assert!(fields.contains_key(CONTENT_TYPE));
        response
    }
}
