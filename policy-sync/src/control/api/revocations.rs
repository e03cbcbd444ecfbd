//! Revoking, lifting, and what is revoked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use bytes::Bytes;
use http::Uri;
use jiff::Timestamp;

use super::Api;
use super::body::{self, Fields};
use super::query::{NoParameters, Parameters};
use super::refusal::{ErrorView, Refusal};
use super::targets;
use super::views::{
    AppliedView, Count, EnvelopeView, RevocationView, RevocationsView, RevokeBody, RevokedView, SignedBody,
    TargetView, WrittenView,
};
use crate::control::plane::{RevokeOrder, RevokeWhat, Revoked, Written};
use crate::control::state::RevocationNote;
use crate::control::tokens::Caller;
use crate::log::Entry;

/// The largest body, in bytes: the envelope of a statement with room to spare.
const LARGEST: usize = 128 << 10;
/// The longest reason, in characters.
const LONGEST_REASON: usize = 256;
/// The longest that an answer waits for gateways.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many revocations are listed when nobody says how many, and at most.
const LISTED: u64 = 100;
const MOST_LISTED: u64 = 1000;

/// Revokes, at once.
///
/// From the moment that this answers, no further byte of the target's sessions reaches a destination through the gateways that
/// it lists as applied. The same order again has the same answer.
#[utoipa::path(
    post, path = "/api/v1/revoke", tag = "revocations", operation_id = "revoke",
    params(("wait_ms" = inline(Option<Count>), Query, description = "how long to wait for gateways, in milliseconds; 30000 at most")),
    request_body(content = RevokeBody),
    responses(
        (status = 200, description = "it is durable, and in force where it says so", body = RevokedView),
        (status = 409, description = "there is no key to sign it with", body = ErrorView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    request: Request,
) -> Result<Json<RevokedView>, Refusal> {
    let mut parameters = Parameters::of(&uri)?;
    let wait = parameters.whole("wait_ms", u64::MAX)?.map_or(api.wait, Duration::from_millis);
    parameters.finish()?;
    let what = order(&body::json(request, LARGEST).await?)?;
    let by = caller.owner.to_string();
    let revoked = api.plane.revoke(RevokeOrder { what, by, wait: wait.min(LONGEST_WAIT) }).await?;
    Ok(Json(revoked.into()))
}

/// The same as `POST /api/v1/revoke`.
#[utoipa::path(
    post, path = "/api/v1/revocations", tag = "revocations", operation_id = "create_revocation",
    params(("wait_ms" = inline(Option<Count>), Query, description = "how long to wait for gateways, in milliseconds; 30000 at most")),
    request_body(content = RevokeBody),
    responses(
        (status = 200, description = "it is durable, and in force where it says so", body = RevokedView),
        (status = 409, description = "there is no key to sign it with", body = ErrorView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn create(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    uri: Uri,
    request: Request,
) -> Result<Json<RevokedView>, Refusal> {
    revoke(state, caller, uri, request).await
}

fn order(text: &Bytes) -> Result<RevokeWhat, Refusal> {
    let mut fields = Fields::read(text)?;
    if let Some(envelope) = fields.raw("envelope") {
        fields.finish()?;
        return Ok(RevokeWhat::Signed(Bytes::copy_from_slice(envelope.get().as_bytes())));
    }
    let target = targets::read(&mut fields)?;
    let reason = fields.required("reason")?;
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return Err(fields.wrong("reason", format!("expected 1 to {LONGEST_REASON} characters")));
    }
    let timestamp = fields.text("timestamp")?.map(|text| {
        let instant = text.parse::<Timestamp>();
        instant.map_err(|_| fields.wrong("timestamp", "expected an instant like 2026-01-17T12:40:00Z"))
    });
    let timestamp = timestamp.transpose()?;
    fields.finish()?;
    Ok(RevokeWhat::Unsigned { target, reason, timestamp })
}

/// What is revoked, and what was, in the order of the log.
#[utoipa::path(
    get, path = "/api/v1/revocations", tag = "revocations", operation_id = "list_revocations",
    params(
        ("after" = inline(Option<Count>), Query, description = "the sequence behind which to begin"),
        ("limit" = inline(Option<Count>), Query, description = "how many, 1000 at most; 100 if absent"),
        ("target" = Option<String>, Query, pattern = "^(?:all|(?:manifest_id|device|user|agent):[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}|certificate:[0-9a-fA-F]{64}|certificate:(?:[0-9a-fA-F]{2}){1,4096}/(?:[0-9a-fA-F]{2}){1,64})$", description = "only those aimed at this, such as `device:device-7`"),
    ),
    responses((status = 200, description = "revocations", body = RevocationsView))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<RevocationsView>, Refusal> {
    let mut parameters = Parameters::of(&uri)?;
    let after = parameters.whole("after", u64::MAX)?.unwrap_or(0);
    let limit = parameters.whole("limit", MOST_LISTED)?.unwrap_or(LISTED).max(1);
    let target = parameters.text("target")?.map(|text| {
        let hint = "expected a target such as device:device-7, or all";
        targets::parse(&text).ok_or_else(|| Refusal::field("target", hint))
    });
    let target = target.transpose()?;
    parameters.finish()?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found: Vec<(u64, RevocationNote)> = api.plane.with_state(|state| {
        let all = state.revocations(after);
        let aimed =
            all.filter(|(_, note)| target.as_ref().is_none_or(|target| note.revocation.target == *target));
        aimed.take(most.saturating_add(1)).map(|(sequence, note)| (sequence, note.clone())).collect()
    });
    let more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| more).map(|(sequence, _)| *sequence);
    let revocations = found.iter().map(|(sequence, note)| view(*sequence, note)).collect();
    Ok(Json(RevocationsView { revocations, next }))
}

/// One revocation.
#[utoipa::path(
    get, path = "/api/v1/revocations/{sequence}", tag = "revocations", operation_id = "show_revocation",
    params(("sequence" = u64, Path, description = "where it stands in the log")),
    responses((status = 200, description = "the revocation", body = RevocationView))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    _: NoParameters,
    path: Path<String>,
) -> Result<Json<RevocationView>, Refusal> {
    let sequence = sequence(&path)?;
    let note = api.plane.with_state(|state| state.revocation(sequence).cloned());
    note.map(|note| Json(view(sequence, &note))).ok_or(Refusal::Unknown)
}

/// Lifts a revocation of a device, a user, an agent, or everybody.
///
/// Without a body the control plane signs the lifting, if it has a key for that.
#[utoipa::path(
    delete, path = "/api/v1/revocations/{sequence}", tag = "revocations", operation_id = "lift_revocation",
    params(("sequence" = u64, Path, description = "where it stands in the log")),
    request_body(content = Option<SignedBody>),
    responses(
        (status = 200, description = "it is lifted", body = WrittenView),
        (status = 409, description = "it is never lifted, or there is no key to sign it with", body = ErrorView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    path: Path<String>,
    request: Request,
) -> Result<Json<WrittenView>, Refusal> {
    let sequence = sequence(&path)?;
    let text = if body::is_absent(&request) { Bytes::new() } else { body::json(request, LARGEST).await? };
    let signed = if matches!(text.trim_ascii(), b"" | b"null") {
        None
    } else {
        let mut fields = Fields::read(&text)?;
        let envelope = fields.raw("envelope").ok_or_else(|| fields.wrong("envelope", "the field is missing"));
        let envelope = envelope?;
        fields.finish()?;
        Some(Bytes::copy_from_slice(envelope.get().as_bytes()))
    };
    let reason = format!("lifted by {}", caller.owner);
    Ok(Json(api.plane.lift(sequence, signed, &reason, &caller.owner).await?.into()))
}

/// Lifts a revocation, by what an approver has signed.
#[utoipa::path(
    post, path = "/api/v1/lifts", tag = "revocations", operation_id = "lift_signed",
    request_body(content = EnvelopeView),
    responses(
        (status = 200, description = "it is lifted", body = WrittenView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn lift_signed(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    request: Request,
) -> Result<Json<WrittenView>, Refusal> {
    let envelope = body::json(request, LARGEST).await?;
    Ok(Json(api.plane.submit(Entry::Lift(envelope), &caller.owner).await?.into()))
}

fn sequence(path: &str) -> Result<u64, Refusal> {
    let digits = (1..=20).contains(&path.len()) && path.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| path.parse().ok()).flatten();
    number.ok_or_else(|| Refusal::field("sequence", "expected a whole number"))
}

fn view(sequence: u64, note: &RevocationNote) -> RevocationView {
    let revocation = &note.revocation;
    RevocationView {
        sequence,
        revocation: revocation.id.to_string(),
        target: TargetView::from(&revocation.target),
        reason: revocation.reason.to_string(),
        timestamp: Timestamp::from_second(revocation.timestamp).unwrap_or(Timestamp::MIN).to_string(),
        at: note.at.to_string(),
        by: note.by.to_string(),
        lifted: note.lifted,
    }
}

impl From<Revoked> for RevokedView {
    fn from(revoked: Revoked) -> Self {
        let applied = revoked.applied.into_iter().map(|applied| AppliedView {
            gateway: applied.gateway,
            latency_ms: applied.latency_ms,
            sessions_cut: applied.sessions_cut,
            upload_bytes: applied.upload_bytes,
        });
        Self {
            sequence: revoked.sequence,
            epoch: revoked.epoch,
            revocation: revoked.revocation.to_string(),
            target: TargetView::from(&revoked.target),
            repeated: revoked.repeated,
            applied: applied.collect(),
            pending: revoked.pending,
        }
    }
}

impl From<Written> for WrittenView {
    fn from(Written { epoch, sequence, repeated }: Written) -> Self {
        Self { epoch, sequence, repeated }
    }
}
