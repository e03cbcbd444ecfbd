//! What an agent is told of itself: how it stands, and at once when that changes.
//!
//! `GET /api/v1/agents/self/manifest` is its manifest and its standing; `GET /api/v1/agents/self/events` is a stream of
//! server-sent events. Who asks is what the certificate of the connection proves, looked at again for every request
//! (`caller`); what they see is what the log comes to for that device and agent, and for nobody else (`view`). `board` knows
//! whom a change concerns and wakes only those; `stream` turns each step between two views into events.
//!
//! Relies on a listener that asks for device certificates, and on [`Peer`] for what was presented. It never tells a device of
//! another, nor the words in which somebody gave a reason for a revocation.

mod board;
mod caller;
mod places;
mod stream;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use certs::DeviceVerifier;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::task::AbortHandle;

use super::plane::Plane;
use super::serve::Peer;
use board::Board;
use caller::{Caller, Turned};
use places::Places;
use stream::Stream;
use view::View;

/// The header with which a client resumes a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// What agents are told of themselves. Dropping it ends the watch over the log; streams end with their connections.
pub struct Agents {
    plane: Arc<Plane>,
    verifier: Arc<DeviceVerifier>,
    board: Arc<Board>,
    places: Places,
    metrics: AgentMetrics,
    watch: AbortHandle,
}

struct AgentMetrics {
    streams: IntGauge,
    told: IntCounterVec,
    turned: IntCounterVec,
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").field("plane", &self.plane.name()).finish_non_exhaustive()
    }
}

impl Agents {
    /// Begins to watch the log for agents. The verifier is the one of the listener.
    ///
    /// # Errors
    /// When the metrics cannot be registered.
    pub fn open(
        plane: Arc<Plane>,
        verifier: Arc<DeviceVerifier>,
        registry: &Registry,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = AgentMetrics::register(registry)?;
        let board = Arc::new(Board::new(&plane));
        let watch = tokio::spawn(board::watch(Arc::downgrade(&board), Arc::clone(&plane))).abort_handle();
        Ok(Arc::new(Self { plane, verifier, board, places: Places::default(), metrics, watch }))
    }

    /// The routes, for a listener that asks for device certificates.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/api/v1/agents/self/events", get(events))
            .route("/api/v1/agents/self/manifest", get(manifest))
            .with_state(Arc::clone(self))
    }

    /// Who asks, by what they presented when they connected, under the trust and the policy of this moment.
    fn identify(&self, peer: Option<&Peer>, query: Option<&str>) -> Result<Caller, Turned> {
        let presented = peer.map(|peer| &*peer.certificates).unwrap_or_default();
        let caller = caller::identify(&self.verifier, presented, query, Timestamp::now().as_second());
        let admitted =
            caller.and_then(|caller| self.board.current().certificates_hold(&caller).map(|()| caller));
        admitted.inspect_err(|turned| self.metrics.turned.with_label_values(&[turned.as_str()]).inc())
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl AgentMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            streams: IntGauge::new("portcullis_agent_streams", "Streams of events that agents have open.")?,
            told: IntCounterVec::new(
                Opts::new("portcullis_agent_events_total", "Events that agents were told, by kind."),
                &["event"],
            )?,
            turned: IntCounterVec::new(
                Opts::new(
                    "portcullis_agent_refusals_total",
                    "Requests of agents that were refused, by reason.",
                ),
                &["reason"],
            )?,
        };
        registry.register(Box::new(metrics.streams.clone()))?;
        registry.register(Box::new(metrics.told.clone()))?;
        registry.register(Box::new(metrics.turned.clone()))?;
        Ok(metrics)
    }
}

async fn events(State(agents): State<Arc<Agents>>, RawQuery(query): RawQuery, request: Request) -> Response {
    let caller = match agents.identify(request.extensions().get::<Peer>(), query.as_deref()) {
        Ok(caller) => caller,
        Err(turned) => return answer(turned),
    };
    let Some(place) = agents.places.take(&caller.device.device) else {
        agents.metrics.turned.with_label_values(&[Turned::TooManyStreams.as_str()]).inc();
        return answer(Turned::TooManyStreams);
    };
    let last = request.headers().get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let stream = Stream::new(Arc::clone(&agents), caller, last, place);
    let mut response = Response::new(Body::from_stream(stream.into_body()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Whatever stands between is asked not to collect events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn manifest(
    State(agents): State<Arc<Agents>>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let caller = match agents.identify(request.extensions().get::<Peer>(), query.as_deref()) {
        Ok(caller) => caller,
        Err(turned) => return answer(turned),
    };
    let current = agents.board.current();
    let view = View::of(&caller, &current, Timestamp::now().as_second());
    let envelope = match &view.manifest {
        Some(manifest) => agents.plane.manifest_envelope(&manifest.digest).await,
        None => Ok(None),
    };
    let Ok(envelope) = envelope else { return answer(Turned::Unavailable) };
    let envelope: Option<Box<RawValue>> = envelope.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut body = view.describe(&caller);
    if let (Some(fields), Ok(envelope)) = (body.as_object_mut(), serde_json::to_value(envelope)) {
        fields.insert("envelope".into(), envelope);
        fields.insert("position".into(), json!(current.position.to_string()));
    }
    json_answer(StatusCode::OK, HeaderMap::new(), &body)
}

fn answer(turned: Turned) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = turned.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    let body = json!({"error": turned.as_str(), "hint": turned.to_string()});
    json_answer(turned.status(), headers, &body)
}

fn json_answer(status: StatusCode, mut headers: HeaderMap, body: &serde_json::Value) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
