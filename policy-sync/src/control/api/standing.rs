//! How do things stand? Gateways, the policy in numbers, and the signed log for auditors.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use serde_json::value::RawValue;

use super::Api;
use super::body;
use super::query::{NoParameters, Parameters};
use super::refusal::{ErrorView, Refusal};
use super::views::{Count, GatewayView, GatewaysView, PolicyView, RecordsView};
use crate::target::to_hex;

/// How many records are read when nobody says how many, and at most.
const READ: u64 = 100;
const MOST_READ: u64 = 1000;

/// Every gateway that is known, and how it stands.
#[utoipa::path(
    get, path = "/api/v1/gateways", tag = "gateways", operation_id = "list_gateways",
    responses((status = 200, description = "gateways", body = GatewaysView))
)]
pub(super) async fn gateways(
    State(api): State<Arc<Api>>,
    _: NoParameters,
) -> Result<Json<GatewaysView>, Refusal> {
    let position = api.plane.with_state(crate::control::state::State::position);
    let view = |status: crate::control::GatewayStatus| GatewayView {
        behind: if status.epoch == position.epoch {
            position.sequence.saturating_sub(status.sequence)
        } else {
            position.sequence
        },
        name: status.name,
        connected: status.connected,
        version: status.version,
        revision: status.revision,
        epoch: status.epoch,
        sequence: status.sequence,
        sessions: status.sessions,
        age_ms: status.age_ms,
        last_report: status.last_report.map(|at| at.to_string()),
    };
    Ok(Json(GatewaysView { gateways: api.plane.gateways().into_iter().map(view).collect() }))
}

/// Forgets a gateway that will not come back, so that nobody waits for it any more.
#[utoipa::path(
    delete, path = "/api/v1/gateways/{name}", tag = "gateways", operation_id = "forget_gateway",
    params(("name" = String, Path, description = "the name of the gateway")),
    responses((status = 204, description = "it is forgotten"))
)]
pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    _: NoParameters,
    path: Path<String>,
) -> Result<Response, Refusal> {
    if api.plane.forget_gateway(&path).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Refusal::Unknown)
    }
}

/// What is in force, in numbers, and how far the log reaches.
#[utoipa::path(
    get, path = "/api/v1/policy", tag = "policy", operation_id = "show_policy",
    responses((status = 200, description = "the policy in numbers", body = PolicyView))
)]
pub(super) async fn policy(
    State(api): State<Arc<Api>>,
    _: NoParameters,
) -> Result<Json<PolicyView>, Refusal> {
    let gateways = api.plane.gateways();
    let view = api.plane.with_state(|state| PolicyView {
        control: api.plane.name().to_owned(),
        epoch: state.position().epoch,
        sequence: state.position().sequence,
        digest: to_hex(&state.position().digest),
        manifests: state.policy().manifest_count() as u64,
        revoked: state.policy().revocations().len() as u64,
        crls: state.crls().iter().count() as u64,
        gateways: gateways.len() as u64,
        gateways_connected: gateways.iter().filter(|gateway| gateway.connected).count() as u64,
    });
    Ok(Json(view))
}

/// The records of the log, as they were signed.
#[utoipa::path(
    get, path = "/api/v1/records", tag = "policy", operation_id = "list_records",
    params(
        ("after" = inline(Option<Count>), Query, description = "the sequence behind which to begin"),
        ("limit" = inline(Option<Count>), Query, description = "how many, 1000 at most; 100 if absent"),
    ),
    responses(
        (status = 200, description = "records", body = RecordsView),
        (status = 410, description = "they are in a snapshot by now", body = ErrorView),
    )
)]
pub(super) async fn records(State(api): State<Arc<Api>>, uri: Uri) -> Result<Response, Refusal> {
    let mut parameters = Parameters::of(&uri)?;
    let after = parameters.whole("after", u64::MAX)?.unwrap_or(0);
    let limit = parameters.whole("limit", MOST_READ)?.unwrap_or(READ).max(1);
    parameters.finish()?;
    let sequence = api.plane.with_state(|state| state.position().sequence);
    if after >= sequence {
        return Ok(Json(RecordsView { records: Vec::new(), sequence }).into_response());
    }
    let read = api.plane.transport().read(after, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    if read.is_empty() {
        return Err(Refusal::Gone);
    }
    let as_signed = |envelope: bytes::Bytes| {
        let text = String::from_utf8(envelope.to_vec()).ok()?;
        RawValue::from_string(text).ok()
    };
    let records = read.into_iter().filter_map(as_signed).collect();
    Ok(Json(RecordsView { records, sequence }).into_response())
}

/// The description of the API itself.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "health", operation_id = "describe",
    responses((status = 200, description = "an OpenAPI document", body = serde_json::Map<String, serde_json::Value>))
)]
pub(super) async fn describe(State(api): State<Arc<Api>>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(body::JSON))], api.description.clone()).into_response()
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "live",
    responses((status = 200, description = "it answers", body = String, content_type = "text/plain"))
)]
pub(super) async fn live() -> Response {
    text(StatusCode::OK, "alive\n")
}

/// Whether the log can be read and written.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "it can", body = String, content_type = "text/plain"),
        (status = 503, description = "it cannot, and why", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    readiness(&api.plane)
}

/// The answer to whoever asks whether this control plane is ready.
pub(in crate::control) fn readiness(plane: &crate::control::Plane) -> Response {
    match plane.trouble() {
        None => text(StatusCode::OK, "ready\n"),
        Some(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the log of policy cannot be used\n"),
    }
}

/// Plain text.
pub(in crate::control) fn text(status: StatusCode, body: &'static str) -> Response {
    let plain = [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    (status, plain, body).into_response()
}
