//! What can be asked of a running gateway, and told to it, from its own machine? Health, metrics, sessions, policy.
//!
//! A small HTTP server of its own on a runtime of its own. It binds loopback unless the settings say otherwise, answers
//! only to its own names, and cannot be reached through the proxy: the screen refuses the gateway's own listeners.
//! Reading changes nothing; the one change, cutting a session, needs a request that no foreign page can make.
//!
//! Relies on [`policy_sync::local`] for whom it answers and for how long. Never repeats a request in an answer.

mod answers;
mod health;
mod policy;
mod sessions;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use policy_sync::local::{Bounded, Names, guard};
use tokio::net::TcpListener;

use crate::gateway::Gateway;
use answers::Refusal;

pub use policy::{ManifestView, PolicyView, RevocationView};
pub use sessions::{Cut, SessionView, Sessions};

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 4 * 1024;

/// Serves until `shutdown` is done.
///
/// # Errors
/// When the listener cannot be used by this runtime.
pub async fn serve(
    listener: std::net::TcpListener,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let names = Names::new(listener.local_addr()?, &gateway.settings.load().listen.admin_names);
    let bounded = Bounded::new(TcpListener::from_std(listener)?);
    axum::serve(bounded, router(gateway, names)).with_graceful_shutdown(shutdown).await
}

fn router(gateway: Arc<Gateway>, names: Names) -> Router {
    Router::new()
        .route("/", get(health::status))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}/cut", post(sessions::cut))
        .route("/policy", get(policy::show))
        .route("/explain", get(policy::explain))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::Method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(names), only_own))
        .with_state(gateway)
}

/// Turns away what is not meant for this listener before anything looks at it.
async fn only_own(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    // A target with an authority (absolute form, CONNECT) is a request to a proxy.
    let meant = if request.uri().authority().is_some() {
        Err(Refusal::ForeignHost)
    } else {
        names.check(request.headers()).map_err(Refusal::from)
    };
    guard(match meant {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    })
}
