//! Who is connected to what, and the way to end it.

use std::sync::Arc;

use audit::{Event, EventType};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use config::Reason;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::answers::Refusal;
use crate::gateway::Gateway;
use crate::record::describe;
use crate::registry::{Kind, Session};

/// The live sessions, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Connections that carry no session of their own are not among them.
    pub sessions: Vec<SessionView>,
}

/// One live session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its name, for cutting it and for finding its events.
    pub session: String,
    /// `tunnel` or `forward`.
    pub kind: String,
    /// How far it has come.
    pub stage: String,
    /// Whose it is.
    pub device: String,
    /// Where it goes.
    pub destination: String,
    /// The agent, once it is decided which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The user, from the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The manifest that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The rule that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Bytes handed to the destination.
    pub upload_bytes: u64,
    /// Bytes handed to the device.
    pub download_bytes: u64,
    /// Since it began.
    pub age_ms: u64,
    /// Since bytes last moved.
    pub idle_ms: u64,
}

/// What cutting a session did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The session.
    pub session: String,
    /// 1, or 0 when it was already told to end.
    pub sessions_cut: u64,
    /// Bytes it had handed to its destination.
    pub upload_bytes: u64,
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Sessions> {
    let mut live = gateway.registry.snapshot();
    live.retain(|session| session.kind != Kind::Connection);
    live.sort_unstable_by_key(|session| session.key);
    Json(Sessions { sessions: live.iter().map(|session| view(session)).collect() })
}

/// Ends one session, as an operator's decision: the agent may open another.
pub(super) async fn cut(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    fields: HeaderMap,
) -> Response {
    if !is_json(&fields) {
        return Refusal::NotJson.into_response();
    }
    let Ok(id) = Uuid::try_parse(&id) else { return Refusal::NoSuchSession.into_response() };
    let live = gateway.registry.snapshot();
    let Some(session) = live.into_iter().find(|session| session.id == id && session.kind != Kind::Connection)
    else {
        return Refusal::NoSuchSession.into_response();
    };
    let event = describe(Event::new(EventType::SessionCut), &session);
    let tripped = gateway.registry.trip(&[session], |_| Some(Reason::OperatorCut));
    gateway.recorder.record(event.sessions_cut(tripped.sessions).upload_bytes(tripped.upload_bytes));
    tracing::info!(session = %id, sessions_cut = tripped.sessions, "session cut by an operator");
    let cut =
        Cut { session: id.to_string(), sessions_cut: tripped.sessions, upload_bytes: tripped.upload_bytes };
    Json(cut).into_response()
}

/// A form cannot send this type, and a script of another origin has to ask first, which is never granted.
fn is_json(fields: &HeaderMap) -> bool {
    let declared = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn view(session: &Session) -> SessionView {
    let authority = session.authority();
    let manifest = authority.as_ref().map(|authority| &authority.manifest.manifest);
    SessionView {
        session: session.id.to_string(),
        kind: session.kind.as_str().into(),
        stage: session.stage().as_str().into(),
        device: session.device.device.to_string(),
        destination: session.destination.as_ref().map(ToString::to_string).unwrap_or_default(),
        agent: manifest.map(|manifest| manifest.agent.to_string()),
        user: manifest.map(|manifest| manifest.user.to_string()),
        manifest: manifest.map(|manifest| manifest.id.to_string()),
        rule: authority.as_ref().and_then(|authority| authority.rule.clone()),
        upload_bytes: session.uploaded(),
        download_bytes: session.downloaded(),
        age_ms: millis(session.age()),
        idle_ms: millis(session.idle()),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_counts_as_json() {
        for (declared, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data", false),
            ("application/jsonp", false),
            ("text/plain; application/json", false),
            ("", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, declared.parse().unwrap());
            assert_eq!(is_json(&fields), expected, "{declared}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
