//! Does it live, does it work, what does it count?

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus::{Encoder as _, TextEncoder};

use super::answers::text;
use crate::gateway::Gateway;

/// The process answers.
pub(super) async fn live() -> Response {
    text(StatusCode::OK, "alive\n")
}

/// New sessions are taken; else the reason why not.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.unavailable() {
        None => text(StatusCode::OK, "ready\n"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.as_str())),
    }
}

/// Everything that is counted, in the text format of Prometheus.
pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let encoder = TextEncoder::new();
    let mut page = Vec::new();
    match encoder.encode(&gateway.scrape.gather(), &mut page) {
        Ok(()) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(CONTENT_TYPE, kind)], page).into_response()
        }
        Err(fault) => {
            tracing::error!(%fault, "metrics cannot be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n")
        }
    }
}

/// A few lines for a person.
pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    let snapshot = gateway.feed.current();
    let mut page = format!("Portcullis {}\n\n", env!("CARGO_PKG_VERSION"));
    let ready = gateway.unavailable().map_or("yes", config::Reason::as_str);
    let age = gateway.feed.age().map_or_else(|| "never".into(), |age| format!("{} s ago", age.as_secs()));
    for (name, value) in [
        ("ready", ready.to_owned()),
        ("live sessions", gateway.registry.len().to_string()),
        ("policy revision", snapshot.revision.to_string()),
        ("policy last heard of", age),
        ("manifests", snapshot.manifest_count().to_string()),
        ("revocations", snapshot.revocations().len().to_string()),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<21} {value}");
    }
    page.push_str("\n/livez /readyz /metrics /sessions /policy /explain?device=&agent=&destination=\n");
    text(StatusCode::OK, page)
}
