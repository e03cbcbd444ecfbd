//! Somebody who signs JWTs: how its tokens name it, where its keys are, and with what it may sign.

use std::path::{Path, PathBuf};

use crate::reading::{Field, Table};

/// Algorithms of JWS that can be accepted (RFC 7518 §3.1, RFC 8037 §3.1). Those with shared keys, and `none`, are not among them.
const ALGORITHMS: [(&str, &str); 3] = [("ES256", "ES256"), ("RS256", "RS256"), ("EdDSA", "EdDSA")];

/// What `issuer`, `audience`, `jwks`, `ca` and `algorithms` say together.
pub(super) struct Signer {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// An `https://` URL, or a path.
    pub(super) jwks: String,
    pub(super) ca: Option<PathBuf>,
    /// As JWS headers spell them; at least one.
    pub(super) algorithms: Vec<String>,
}

pub(super) fn signer(table: &mut Table<'_>, directory: &Path) -> Option<Signer> {
    let issuer = table.required("issuer").and_then(|field| field.line().map(str::to_owned));
    let audience = table.required("audience").and_then(|field| field.line().map(str::to_owned));
    let jwks = table.required("jwks").and_then(|field| jwks(&field, directory));
    let ca = table.maybe("ca", |field| field.path(directory));
    if jwks.as_ref().is_some_and(|jwks| !jwks.contains("://")) && matches!(ca, Some(Some(_))) {
        table.refuse_below::<()>("ca", "it has no effect: `jwks` is a file", None);
    }
    let algorithms = table.required("algorithms").and_then(|field| algorithms(&field));
    Some(Signer { issuer: issuer?, audience: audience?, jwks: jwks?, ca: ca?, algorithms: algorithms? })
}

fn jwks(field: &Field<'_>, directory: &Path) -> Option<String> {
    match field.line()? {
        url if url.starts_with("https://") => Some(url.to_owned()),
        url if url.contains("://") => field.refuse("expected an https:// URL or a file", None),
        _ => field.path(directory).map(|path| path.to_string_lossy().into_owned()),
    }
}

fn algorithms(field: &Field<'_>) -> Option<Vec<String>> {
    match field.each(|name| name.one_of(&ALGORITHMS))? {
        none if none.is_empty() => field.refuse("the list is empty: nothing could be signed", None),
        some => Some(some.into_iter().map(str::to_owned).collect()),
    }
}
