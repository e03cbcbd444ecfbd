//! What does the admin listener answer when it does not do what was asked? Fixed words, nothing of the request in them.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use policy_sync::local::Foreign;
use serde::Serialize;

/// A refusal with a fixed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The `Host` field is missing, repeated or malformed.
    MalformedHost,
    /// The request means another host.
    ForeignHost,
    /// A page of another origin sent the request.
    ForeignOrigin,
    /// No such path.
    NotFound,
    /// The path is served, but not for this method.
    Method,
    /// A change that is not declared as JSON.
    NotJson,
    /// No live session has this identifier.
    NoSuchSession,
    /// A query parameter is missing or cannot be read.
    Query(&'static str),
}

impl From<Foreign> for Refusal {
    fn from(foreign: Foreign) -> Self {
        match foreign {
            Foreign::Malformed => Self::MalformedHost,
            Foreign::Host => Self::ForeignHost,
            Foreign::Origin => Self::ForeignOrigin,
        }
    }
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::MalformedHost | Self::Query(_) => StatusCode::BAD_REQUEST,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoSuchSession => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::MalformedHost => ("malformed_host", "send exactly one valid Host field"),
            Self::ForeignHost => {
                ("foreign_host", "this listener answers to its own names; more are set by listen.admin_names")
            }
            Self::ForeignOrigin => ("foreign_origin", "pages of other origins are not answered"),
            Self::NotFound => ("not_found", "served are /livez /readyz /metrics /sessions /policy /explain"),
            Self::Method => ("method_not_allowed", "this path is not served for this method"),
            Self::NotJson => ("not_json", "send Content-Type: application/json"),
            Self::NoSuchSession => ("no_such_session", "no live session has this identifier"),
            Self::Query(hint) => ("malformed_query", hint),
        }
    }
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    hint: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (error, hint) = self.words();
        (self.status(), axum::Json(Body { error, hint })).into_response()
    }
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let plain = [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    (status, plain, body.into()).into_response()
}
