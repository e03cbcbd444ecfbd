//! `[api]`: who may use the API, and how much.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reading::Table;
use crate::settings::{DefaultValue, SettingDoc, setting};

pub(super) const DOCS: &[SettingDoc] = &[
    setting(
        "api",
        "tokens",
        DefaultValue::Toml(r#""tokens.toml""#),
        "TOML file of the tokens that are accepted: digests, owners, roles, expiry.",
    ),
    setting(
        "api",
        "requests_per_second",
        DefaultValue::Toml("50"),
        "Requests that one holder of a token may make in a second.",
    ),
    setting("api", "burst", DefaultValue::Toml("100"), "Requests that may come at once before that counts."),
    setting(
        "api",
        "wait",
        DefaultValue::Toml(r#""500ms""#),
        "How long a revocation waits for gateways when the request does not say it.",
    ),
    setting(
        "api",
        "attempts_per_minute",
        DefaultValue::Toml("30"),
        "Failed authentications that one address may make in a minute.",
    ),
];

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// TOML file of the tokens that are accepted.
    pub tokens: PathBuf,
    /// Requests that one holder of a token may make in a second.
    pub requests_per_second: u32,
    /// Requests that may come at once before that counts.
    pub burst: u32,
    /// How long a revocation waits for gateways when the request does not say it.
    pub wait: Duration,
    /// Failed authentications that one address may make in a minute.
    pub attempts_per_minute: u32,
}

/// The longest that a revocation may wait for gateways.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) fn read(mut table: Table<'_>, directory: &Path) -> Option<ApiSettings> {
    let tokens = table.required("tokens").and_then(|field| field.path(directory));
    let mut number = |key| table.required(key).and_then(|field| field.whole(1_u32, 1_000_000));
    let (requests_per_second, burst) = (number("requests_per_second"), number("burst"));
    let attempts_per_minute = number("attempts_per_minute");
    let wait = table.required("wait").and_then(|field| match field.duration()? {
        wait if wait > LONGEST_WAIT => field.refuse("no answer waits longer than a minute", None),
        wait => Some(wait),
    });
    table.finish();
    Some(ApiSettings {
        tokens: tokens?,
        requests_per_second: requests_per_second?,
        burst: burst?,
        wait: wait?,
        attempts_per_minute: attempts_per_minute?,
    })
}
