//! What can be asked of a control plane from its own machine? Whether it lives, whether it works, what it counts.
//!
//! Plain HTTP without authentication, on loopback unless the settings say otherwise; answers only to its own names. It
//! changes nothing and shows nothing but numbers.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use config::Name;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

use super::api::standing::{readiness, text};
use super::plane::Plane;
use crate::local::{Bounded, Foreign, Names, guard};

struct Ops {
    plane: Arc<Plane>,
    registry: Registry,
}

/// Serves until `shutdown` is done. `names` are host names that it answers to beside its own address.
///
/// # Errors
/// When the listener cannot be used by this runtime.
pub async fn serve(
    listener: std::net::TcpListener,
    names: &[Name],
    plane: Arc<Plane>,
    registry: Registry,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let names = Arc::new(Names::new(listener.local_addr()?, names));
    let router = Router::new()
        .route("/livez", get(async || text(StatusCode::OK, "alive\n")))
        .route("/readyz", get(async |State(ops): State<Arc<Ops>>| readiness(&ops.plane)))
        .route("/metrics", get(metrics))
        .fallback(async || text(StatusCode::NOT_FOUND, "not found; served are /livez /readyz /metrics\n"))
        .layer(middleware::from_fn_with_state(names, only_own))
        .with_state(Arc::new(Ops { plane, registry }));
    let bounded = Bounded::new(TcpListener::from_std(listener)?);
    axum::serve(bounded, router).with_graceful_shutdown(shutdown).await
}

/// Turns away what is not meant for this listener before anything looks at it.
async fn only_own(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    // A target with an authority (absolute form, CONNECT) is a request to a proxy.
    let meant =
        if request.uri().authority().is_some() { Err(Foreign::Host) } else { names.check(request.headers()) };
    guard(match meant {
        Ok(()) => next.run(request).await,
        Err(Foreign::Malformed) => text(StatusCode::BAD_REQUEST, "send exactly one valid Host field\n"),
        Err(Foreign::Host) => {
            text(StatusCode::MISDIRECTED_REQUEST, "this listener answers to its own names\n")
        }
        Err(Foreign::Origin) => text(StatusCode::FORBIDDEN, "pages of other origins are not answered\n"),
    })
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let mut page = Vec::new();
    match TextEncoder::new().encode(&ops.registry.gather(), &mut page) {
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
