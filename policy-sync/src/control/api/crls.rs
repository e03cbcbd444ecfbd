//! Revocation lists of the authorities that issue certificates.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use bytes::Bytes;
use jiff::Timestamp;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;

use super::Api;
use super::body;
use super::query::NoParameters;
use super::refusal::{ErrorView, Refusal};
use super::views::{Binary, CrlView, CrlsView, WrittenView};
use crate::control::crls::CrlNote;
use crate::control::tokens::Caller;
use crate::log::{Entry, LARGEST_CRL};
use crate::target::to_hex;

/// What a CRL may be declared as; which of them it is, its first bytes say.
const KINDS: [&str; 3] = ["application/pkix-crl", "application/x-pem-file", "application/octet-stream"];
/// The same for people.
const EXPECTED: &str = "application/pkix-crl, or application/x-pem-file";
/// The largest body, in bytes: a CRL in PEM.
const LARGEST: usize = LARGEST_CRL / 2 * 3;

/// Submits a CRL, in DER or PEM. Every certificate on it is revoked.
#[utoipa::path(
    put, path = "/api/v1/crls", tag = "certificates", operation_id = "put_crl",
    request_body(
        content = inline(Binary),
        content_type = "application/octet-stream",
        description = "one CRL, in DER or PEM; application/pkix-crl and application/x-pem-file are taken too"
    ),
    responses(
        (status = 200, description = "it is in force", body = WrittenView),
        (status = 409, description = "a later one of this issuer is in force", body = ErrorView),
        (status = 422, description = "it is no CRL, or not that of an authority known here", body = ErrorView),
    )
)]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    _: NoParameters,
    request: Request,
) -> Result<Json<WrittenView>, Refusal> {
    let document = body::whole(request, &KINDS, EXPECTED, LARGEST).await?;
    let der = if document.trim_ascii_start().starts_with(b"-----BEGIN") {
        let crl = CertificateRevocationListDer::from_pem_slice(&document);
        let crl = crl.map_err(|_| Refusal::Signed("the PEM holds no CRL".into()))?;
        Bytes::copy_from_slice(&crl)
    } else {
        document
    };
    Ok(Json(api.plane.submit(Entry::Crl(der), &caller.owner).await?.into()))
}

/// The latest CRL of every issuer.
#[utoipa::path(
    get, path = "/api/v1/crls", tag = "certificates", operation_id = "list_crls",
    responses((status = 200, description = "CRLs", body = CrlsView))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, _: NoParameters) -> Result<Json<CrlsView>, Refusal> {
    let mut crls: Vec<_> = api.plane.with_state(|state| state.crls().iter().map(view).collect());
    crls.sort_by_key(|crl: &CrlView| crl.sequence);
    Ok(Json(CrlsView { crls }))
}

fn view(note: &CrlNote) -> CrlView {
    let instant = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string();
    CrlView {
        issuer: note.summary.issuer_text.clone(),
        this_update: instant(note.summary.this_update),
        next_update: instant(note.summary.next_update),
        entries: note.summary.entries as u64,
        digest: to_hex(&note.digest),
        sequence: note.sequence,
        at: note.at.to_string(),
        by: note.by.to_string(),
    }
}
