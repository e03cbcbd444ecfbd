//! `[oidc]`: the identity provider whose tokens the API takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::ApiRole;
use crate::reading::{Field, Table};
use crate::settings::jwks::{Signer, signer};
use crate::settings::{DefaultValue, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "oidc",
        "issuer",
        DefaultValue::Absent("required in the section"),
        "The identity provider, as its tokens name it in `iss`.",
    ),
    setting(
        "oidc",
        "audience",
        DefaultValue::Absent("required in the section"),
        "What its tokens have to say in `aud`.",
    ),
    setting(
        "oidc",
        "jwks",
        DefaultValue::Absent("required in the section"),
        "Where its keys are: an https:// URL, or a file.",
    ),
    setting(
        "oidc",
        "ca",
        DefaultValue::Absent("the roots of the system"),
        "PEM file of the authorities that issue the certificate of that URL.",
    ),
    setting(
        "oidc",
        "algorithms",
        DefaultValue::Toml(r#"["ES256", "RS256", "EdDSA"]"#),
        "With what its tokens may be signed: some of `ES256`, `RS256` and `EdDSA`.",
    ),
    setting(
        "oidc",
        "role_claim",
        DefaultValue::Toml(r#""roles""#),
        "The claim that says what the holder may do: text, or a list of texts.",
    ),
    setting(
        "oidc",
        "roles",
        DefaultValue::Absent("required in the section"),
        "What its values mean: a table of a value each, with a role.",
    ),
    setting(
        "oidc",
        "leeway",
        DefaultValue::Toml(r#""30s""#),
        "How far the clock of the provider may be off.",
    ),
];

/// `[oidc]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// `iss`, letter by letter.
    pub issuer: String,
    /// What `aud` has to be or to contain.
    pub audience: String,
    /// Where the keys are: an `https://` URL, or the path of a file.
    pub jwks: String,
    /// PEM file of the roots for the URL; the system's when absent.
    pub ca: Option<PathBuf>,
    /// With what tokens may be signed, as JWS headers spell it; at least one.
    pub algorithms: Vec<String>,
    /// The claim with the roles.
    pub role_claim: String,
    /// What its values mean; at least one.
    pub roles: BTreeMap<String, ApiRole>,
    /// How far the clock of the provider may be off.
    pub leeway: Duration,
}

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<OidcSettings> {
    let signer = signer(&mut table, directory);
    let role_claim = table.required("role_claim").and_then(|field| field.line().map(str::to_owned));
    let roles = table.required("roles").and_then(|field| roles(&field));
    let leeway = table.required("leeway").and_then(|field| field.duration());
    table.finish();
    let Signer { issuer, audience, jwks, ca, algorithms } = signer?;
    let (role_claim, roles, leeway) = (role_claim?, roles?, leeway?);
    Some(OidcSettings { issuer, audience, jwks, ca, algorithms, role_claim, roles, leeway })
}

fn roles(field: &Field<'_>) -> Option<BTreeMap<String, ApiRole>> {
    let read = field
        .pairs()?
        .into_iter()
        .map(|(value, role)| Some((value.to_owned(), role.one_of(&ApiRole::NAMES)?)));
    let read: Vec<_> = read.collect();
    let roles: BTreeMap<_, _> = read.into_iter().collect::<Option<_>>()?;
    if roles.is_empty() {
        field.refuse("the table is empty: nobody could do anything", None)
    } else {
        Some(roles)
    }
}
