//! Manifests: submitting, approving, withdrawing, and what is live.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use config::ManifestId;
use http::{StatusCode, Uri};
use jiff::Timestamp;

use super::Api;
use super::body;
use super::query::{NoParameters, Parameters};
use super::refusal::{ErrorView, Refusal};
use super::views::{
    Count, EnvelopeView, ManifestView, ManifestsView, ProposalView, ProposalsView, ProposedView, WrittenView,
};
use crate::control::proposals::{self, Proposal, ProposalFault, Proposed};
use crate::control::state::ManifestNote;
use crate::control::tokens::Caller;
use crate::envelope::LARGEST_ENVELOPE;
use crate::keys::Role;
use crate::log::Entry;
use crate::snapshot::LiveManifest;
use crate::target::to_hex;

/// How many manifests are listed when nobody says how many, and at most.
const LISTED: u64 = 100;
const MOST_LISTED: u64 = 1000;

/// Submits a signed manifest.
///
/// One that needs approval becomes a proposal, to which others add their signatures.
#[utoipa::path(
    put, path = "/api/v1/manifests", tag = "manifests", operation_id = "put_manifest",
    request_body(content = EnvelopeView),
    responses(
        (status = 200, description = "it is live", body = WrittenView),
        (status = 202, description = "others have to sign it first", body = ProposedView),
        (status = 409, description = "a later one is in force, or too many wait", body = ErrorView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    request: Request,
) -> Result<Response, Refusal> {
    let envelope = body::json(request, LARGEST_ENVELOPE).await?;
    Ok(answer(proposals::submit(&api.plane, envelope, &caller.owner).await?))
}

/// Approves a manifest that waits for it, by an envelope over the same bytes with further signatures.
///
/// Nobody approves what he submitted himself.
#[utoipa::path(
    post, path = "/api/v1/manifests/{id}/approvals", tag = "manifests", operation_id = "approve_manifest",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", description = "the name of the manifest")),
    request_body(content = EnvelopeView),
    responses(
        (status = 200, description = "it is live", body = WrittenView),
        (status = 202, description = "others have to sign it too", body = ProposedView),
        (status = 409, description = "it adds no signature, or somebody else has just changed it", body = ErrorView),
        (status = 422, description = "what is signed is not in order", body = ErrorView),
    )
)]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    path: Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let id = manifest_id(&path)?;
    let envelope = body::json(request, LARGEST_ENVELOPE).await?;
    Ok(answer(proposals::approve(&api.plane, &id, &envelope, &caller.owner).await?))
}

/// Manifests that are live, by name.
#[utoipa::path(
    get, path = "/api/v1/manifests", tag = "manifests", operation_id = "list_manifests",
    params(
        ("after" = Option<String>, Query, description = "the name behind which to begin"),
        ("limit" = inline(Option<Count>), Query, description = "how many, 1000 at most; 100 if absent"),
    ),
    responses((status = 200, description = "manifests", body = ManifestsView))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, uri: Uri) -> Result<Json<ManifestsView>, Refusal> {
    let mut parameters = Parameters::of(&uri)?;
    let after = parameters.text("after")?;
    let limit = parameters.whole("limit", MOST_LISTED)?.unwrap_or(LISTED).max(1);
    parameters.finish()?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    // A clone of the policy is cheap; it is looked through while others go on.
    let policy = api.plane.with_state(|state| state.policy().clone());
    let behind = |live: &&Arc<LiveManifest>| {
        after.as_ref().is_none_or(|after| live.manifest.id.as_str() > after.as_str())
    };
    let mut found: Vec<_> = policy.manifests().filter(behind).collect();
    found.sort_unstable_by(|left, right| left.manifest.id.cmp(&right.manifest.id));
    let more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| more).map(|live| live.manifest.id.to_string());
    let manifests = api.plane.with_state(|state| {
        let noted = found.iter().filter_map(|live| Some(view(live, state.manifest(&live.digest)?)));
        noted.collect()
    });
    Ok(Json(ManifestsView { manifests, next }))
}

/// One manifest that is live, with its envelope.
#[utoipa::path(
    get, path = "/api/v1/manifests/{id}", tag = "manifests", operation_id = "show_manifest",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", description = "the name of the manifest")),
    responses((status = 200, description = "the manifest", body = ManifestView))
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    _: NoParameters,
    path: Path<String>,
) -> Result<Json<ManifestView>, Refusal> {
    let id = manifest_id(&path)?;
    let found = api.plane.with_state(|state| {
        let live = state.policy().manifest(&id)?.clone();
        let note = state.manifest(&live.digest)?.clone();
        Some((live, note))
    });
    let (live, note) = found.ok_or(Refusal::Unknown)?;
    let envelope = api.plane.manifest_envelope(&live.digest).await?.ok_or(Refusal::Unknown)?;
    let envelope = serde_json::from_slice(&envelope).ok();
    Ok(Json(ManifestView { envelope, ..view(&live, &note) }))
}

/// Withdraws a manifest, or takes back proposals of this name.
///
/// A manifest that is withdrawn is not revoked: a later one may take its place.
#[utoipa::path(
    delete, path = "/api/v1/manifests/{id}", tag = "manifests", operation_id = "withdraw_manifest",
    params(("id" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$", description = "the name of the manifest")),
    responses(
        (status = 200, description = "it is live no more", body = WrittenView),
        (status = 204, description = "what waited for approval is taken back"),
    )
)]
pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    path: Path<String>,
) -> Result<Response, Refusal> {
    let id = manifest_id(&path)?;
    let taken_back = proposals::withdraw(&api.plane, &id).await?;
    let live = api.plane.with_state(|state| state.policy().manifest(&id).map(|live| live.digest));
    match live {
        Some(digest) => {
            let written = api.plane.submit(Entry::Withdrawal { id, digest }, &caller.owner).await?;
            Ok(Json(WrittenView::from(written)).into_response())
        }
        None if taken_back => Ok(StatusCode::NO_CONTENT.into_response()),
        None => Err(Refusal::Unknown),
    }
}

/// Manifests that others still have to sign, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/proposals", tag = "manifests", operation_id = "list_proposals",
    responses((status = 200, description = "proposals", body = ProposalsView))
)]
pub(super) async fn proposals(
    State(api): State<Arc<Api>>,
    _: NoParameters,
) -> Result<Json<ProposalsView>, Refusal> {
    let all = proposals::list(&api.plane).await?;
    Ok(Json(ProposalsView { proposals: all.iter().filter_map(proposal).collect() }))
}

fn manifest_id(path: &str) -> Result<ManifestId, Refusal> {
    path.parse().map_err(|fault: config::MalformedIdentifier| Refusal::field("id", fault.to_string()))
}

fn answer(proposed: Proposed) -> Response {
    match proposed {
        Proposed::Live(_, written) => Json(WrittenView::from(written)).into_response(),
        Proposed::Waiting(signed, missing) => {
            let (id, digest) = (signed.manifest.id.to_string(), to_hex(&signed.digest));
            let view = ProposedView { id, digest, missing: names(&missing) };
            (StatusCode::ACCEPTED, Json(view)).into_response()
        }
    }
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(Role::to_string).collect()
}

fn instant(second: i64) -> String {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string()
}

fn view(live: &LiveManifest, note: &ManifestNote) -> ManifestView {
    let manifest = &live.manifest;
    ManifestView {
        id: manifest.id.to_string(),
        device: manifest.device.to_string(),
        agent: manifest.agent.to_string(),
        user: manifest.user.to_string(),
        digest: to_hex(&live.digest),
        issued_at: instant(live.issued_at),
        expires_at: instant(live.expires_at),
        signers: live.signers.iter().map(ToString::to_string).collect(),
        sequence: note.sequence,
        at: note.at.to_string(),
        by: note.by.to_string(),
        envelope: None,
    }
}

fn proposal(proposal: &Proposal) -> Option<ProposalView> {
    let manifest = &proposal.signed.manifest;
    Some(ProposalView {
        id: manifest.id.to_string(),
        device: manifest.device.to_string(),
        agent: manifest.agent.to_string(),
        user: manifest.user.to_string(),
        digest: to_hex(&proposal.signed.digest),
        submitter: proposal.submitter.clone(),
        at: proposal.at.to_string(),
        approvers: proposal.approvers.clone(),
        signers: proposal.signed.signers.iter().map(ToString::to_string).collect(),
        missing: names(&proposal.missing),
        envelope: serde_json::from_slice(&proposal.envelope.to_json()).ok()?,
    })
}

impl From<ProposalFault> for Refusal {
    fn from(fault: ProposalFault) -> Self {
        match fault {
            ProposalFault::Submit(fault) => fault.into(),
            ProposalFault::Unknown => Self::Unknown,
            ProposalFault::Own => Self::OwnApproval,
            fault @ (ProposalFault::NothingNew | ProposalFault::TooMany) => Self::Conflict(fault.to_string()),
            ProposalFault::Cell(fault) => fault.into(),
        }
    }
}
