//! The HTTP side of a delivery (RFC 8935 §2): one POST, one token, 202 or a reason.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

use super::refusal::Refusal;
use super::{Delivery, Receiver};
use crate::control::jwks::LONGEST_TOKEN;

/// How long a body may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// `POST /api/v1/signals`. It has its own proof of who speaks: no access token of the API is asked for.
pub fn routes(receiver: Arc<Receiver>) -> Router {
    Router::new().route("/api/v1/signals", post(deliver)).with_state(receiver)
}

async fn deliver(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(DEADLINE, axum::body::to_bytes(body, LONGEST_TOKEN)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return answer(&Refusal::Request("the token is over 64 KiB".into())),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let delivery = Delivery {
        content_type: text(&head.headers, header::CONTENT_TYPE),
        authorization: head.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
        body: &body,
    };
    match receiver.take(delivery, Timestamp::now()).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => answer(&refusal),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// RFC 8935 §2.3 has 400 and JSON for a token that is not in order; whatever another try may mend has its own status.
fn answer(refusal: &Refusal) -> Response {
    let (status, wait) = match refusal {
        Refusal::Request(_)
        | Refusal::Key(_)
        | Refusal::Issuer
        | Refusal::Audience
        | Refusal::Authentication => (StatusCode::BAD_REQUEST, None),
        Refusal::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait.as_secs() + 1)),
        Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
    };
    let description = match refusal {
        // What is wrong here is for the log, not for whoever sent the token.
        Refusal::Unavailable(_) => "try again later".to_owned(),
        _ => refusal.to_string(),
    };
    let body = json!({"err": refusal.outcome().as_str(), "description": description});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LANGUAGE, http::HeaderValue::from_static("en"));
    if let Some(wait) = wait {
        headers.insert(header::RETRY_AFTER, wait.into());
    }
    response
}
