//! The API of a control plane: who may ask what stands in [`roles`](super::roles), what happens stands in
//! [`plane`](super::plane); here is how it is said in HTTP.
//!
//! One layer looks at every request before anything else does: it finds the endpoint in the table of roles, asks who sends
//! the request and whether they may, and counts the answer. What is not in the table is not reachable. The description
//! that `/api/v1/openapi.json` gives is made from the same code. Bodies and queries are read strictly; answers repeat
//! nothing of a request but names of fields. Never logs a token, a body or a query.

mod body;
mod crls;
mod description;
mod manifests;
mod query;
mod refusal;
mod revocations;
pub(super) mod standing;
mod targets;
#[cfg(test)]
mod tests;
pub mod views;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::Method;
use http_body_util::BodyExt as _;
use prometheus::{IntCounterVec, Opts, Registry};

use super::callers::Callers;
use super::plane::Plane;
use super::roles::{Access, ENDPOINTS, endpoint_of};
use super::serve::Peer;
use crate::local::guard;
use refusal::Refusal;

pub use refusal::ErrorView;

/// How much of the body of a request that is refused is read, in bytes.
const DRAINED: usize = 1 << 20;
/// How long that may take.
const DRAINING: Duration = Duration::from_secs(1);

/// What the API needs.
#[derive(Clone)]
pub struct ApiOptions {
    /// What it speaks for.
    pub plane: Arc<Plane>,
    /// Who may ask.
    pub callers: Arc<Callers>,
    /// How long the answer to a revocation waits for gateways when the request does not say.
    pub wait: Duration,
    /// Where requests are counted.
    pub registry: Registry,
}

/// What its endpoints share.
struct Api {
    plane: Arc<Plane>,
    callers: Arc<Callers>,
    wait: Duration,
    description: String,
    requests: IntCounterVec,
}

/// The API, to be served over HTTPS.
///
/// # Errors
/// When the metrics cannot be registered.
pub fn router(options: ApiOptions) -> Result<Router, prometheus::Error> {
    let ApiOptions { plane, callers, wait, registry } = options;
    let requests = IntCounterVec::new(
        Opts::new("portcullis_control_requests_total", "Requests to the API, by endpoint and status."),
        &["endpoint", "status"],
    )?;
    registry.register(Box::new(requests.clone()))?;
    let (router, description) = description::routes().split_for_parts();
    let description = description::complete(description).to_json().unwrap_or_default();
    let api = Arc::new(Api { plane, callers, wait, description, requests });
    Ok(router
        .fallback(async || Refusal::NoPath)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), admit))
        .with_state(api))
}

/// Lets a request through to its endpoint, or answers it.
async fn admit(
    State(api): State<Arc<Api>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = matched.as_ref().map(MatchedPath::as_str);
    let response = match api.identify(&method, path, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            drain(request.into_body()).await;
            refusal.into_response()
        }
    };
    // Only what the table knows becomes a label: nobody makes up others.
    let known = path.and_then(|path| endpoint_of(&method, path));
    let endpoint = known.map_or_else(|| "other".into(), |known| format!("{} {}", known.method, known.path));
    api.requests.with_label_values(&[endpoint.as_str(), response.status().as_str()]).inc();
    guard(response)
}

/// Reads what is left of a small body. Over HTTP/2 an answer in the middle of a body resets the stream, and there are clients
/// that report the reset and not the answer.
async fn drain(body: Body) {
    let reading = http_body_util::Limited::new(body, DRAINED).collect();
    // Too large or too slow: the answer goes out all the same.
    drop(tokio::time::timeout(DRAINING, reading).await);
}

impl Api {
    /// Attaches its caller to the request, if it may go on.
    async fn identify(
        &self,
        method: &Method,
        path: Option<&str>,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        // No route, so the fallback answers.
        let Some(path) = path else { return Ok(()) };
        let endpoint = endpoint_of(method, path).ok_or_else(|| Refusal::Method(methods_of(path)))?;
        let Access::AnyOf(enough) = endpoint.access else { return Ok(()) };
        let peer = request.extensions().get::<Peer>();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
        let caller = self.callers.identify(address, request.headers()).await.map_err(Refusal::Turned)?;
        if !endpoint.access.admits(&caller.roles) {
            return Err(Refusal::Role(enough));
        }
        request.extensions_mut().insert(caller);
        Ok(())
    }
}

/// The methods for which a path is served, as `Allow` lists them.
fn methods_of(path: &str) -> String {
    let here = ENDPOINTS.iter().filter(|endpoint| endpoint.path == path);
    let methods: Vec<_> = here
        .flat_map(|endpoint| match endpoint.method {
            "GET" => vec!["GET", "HEAD"],
            other => vec![other],
        })
        .collect();
    methods.join(", ")
}
