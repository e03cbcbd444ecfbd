//! How does one plain-HTTP request run? Decided like a tunnel, then exchanged over a connection that may be used again.
//!
//! Both protocols of the device meet here; what differs (where the body comes from, how the answer is written) is behind
//! [`Intake`] and [`Answer`]. A request that becomes a WebSocket leaves as an open session and is carried like a tunnel.

use std::sync::Arc;

use bytes::Bytes;
use certs::VerifiedDevice;
use config::{AgentName, Reason};

use crate::egress::{Egress, EgressFault};
use crate::forward::{Answer, BodyFault, Exchanged, Fault, Intake, Kept, Outbound, exchange};
use crate::gateway::Gateway;
use crate::registry::{Kind, Stage};
use crate::reply::Refusal;
use crate::request::{Forward, Protocol};
use crate::session::{Asked, Connected, Opened, admit, connect, redial, upstream_key};

/// One plain-HTTP request of one device.
#[derive(Debug)]
pub struct PlainRequest {
    /// Whose it is.
    pub device: Arc<VerifiedDevice>,
    /// The agent that it named.
    pub requested_agent: Option<AgentName>,
    /// What it asks for.
    pub forward: Box<Forward>,
    /// The protocol that it came in.
    pub protocol: Protocol,
}

/// How a request went that was let through.
#[derive(Debug)]
pub enum Exchange {
    /// The answer was passed on whole.
    Completed {
        /// The request body was taken whole; if not, the rest of it still comes.
        uploaded: bool,
    },
    /// It became a WebSocket; `early` is what the origin has already sent behind its answer.
    Switched {
        /// The open session.
        connected: Box<Connected>,
        /// Bytes for the device.
        early: Bytes,
    },
    /// It broke after the answer had begun: nothing can be said any more, the device's side is to be aborted.
    Broken,
}

/// Runs one request, over the connection that is kept at hand if it serves, and keeps the one it used.
///
/// # Errors
/// The refusal to answer with; nothing has been answered yet, and it has been accounted for.
pub async fn run<I: Intake, A: Answer>(
    gateway: &Arc<Gateway>,
    request: PlainRequest,
    intake: &mut I,
    answer: &mut A,
    kept: &mut Kept<Egress>,
) -> Result<Exchange, Refusal> {
    let PlainRequest { device, requested_agent, forward, protocol } = request;
    let outbound = Outbound::new(&forward, protocol, &gateway.request_rules.pseudonym);
    let declared = outbound.declared_length().unwrap_or_else(|| outbound.head_length());
    let destination = forward.destination;
    let asked = Asked { device, requested_agent, destination, declared_upload: Some(declared) };
    let admitted = admit(gateway, Kind::Forward, asked)?;
    let connected = connect(gateway, admitted, Some(&mut *kept)).await?;
    converse(gateway, connected, &outbound, intake, answer, kept).await
}

async fn converse<I: Intake, A: Answer>(
    gateway: &Arc<Gateway>,
    connected: Connected,
    outbound: &Outbound,
    intake: &mut I,
    answer: &mut A,
    kept: &mut Kept<Egress>,
) -> Result<Exchange, Refusal> {
    let Connected { mut opened, mut egress } = connected;
    let session = Arc::clone(opened.live.session());
    session.enter_stage(Stage::Open);
    let (hold, reason) = loop {
        let hold = egress.hold();
        let reason = match session.unless_cut(exchange(egress, outbound, intake, answer)).await {
            Ok(Ok(done)) => return Ok(finish(gateway, opened, done, kept)),
            Ok(Err(fault))
                if opened.reused && !answer.begun() && fault.is_stale() && outbound.is_replayable() =>
            {
                match redial(gateway, &mut opened).await {
                    Ok(fresh) => {
                        egress = fresh;
                        continue;
                    }
                    Err(reason) => reason,
                }
            }
            Ok(Err(fault)) => reason_of(&fault),
            Err(reason) => reason,
        };
        break (hold, reason);
    };
    if matches!(reason, Reason::UploadLimitExceeded | Reason::BudgetUnavailable) {
        // What was granted still belongs to the destination: let the kernel deliver it before the reset.
        session.enter_stage(Stage::Settling);
        let _revoked = session.unless_cut(hold.settle()).await;
    }
    hold.abort();
    drop(hold);
    let refusal = opened.live.refusal(reason, None);
    opened.live.ended(reason);
    if answer.begun() { Ok(Exchange::Broken) } else { Err(refusal) }
}

fn finish(gateway: &Gateway, opened: Opened, done: Exchanged<Egress>, kept: &mut Kept<Egress>) -> Exchange {
    match done {
        Exchanged::Completed { upstream, uploaded } => {
            if let Some(upstream) = upstream {
                upstream.hold().release();
                kept.put(upstream_key(&opened.permit, opened.address), upstream, &gateway.upstreams);
            }
            opened.live.ended(Reason::Completed);
            Exchange::Completed { uploaded }
        }
        Exchanged::Switched { upstream, early } => {
            let connected = Box::new(Connected { opened, egress: upstream });
            Exchange::Switched { connected, early }
        }
    }
}

/// Why an exchange broke, in the project's own list.
fn reason_of(fault: &Fault) -> Reason {
    if let Some(fault) = EgressFault::of(fault) {
        return fault.reason();
    }
    match fault {
        Fault::Body(BodyFault::Malformed(_)) => Reason::MalformedRequest,
        Fault::Body(BodyFault::Truncated) => Reason::DownstreamClosed,
        Fault::Body(BodyFault::Downstream(_)) | Fault::Downstream(_) => Reason::DownstreamFault,
        Fault::Upstream(_) | Fault::Response(_) => Reason::UpstreamFault,
    }
}
