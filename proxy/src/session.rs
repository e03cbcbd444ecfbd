//! What happens to one request? The story of a session, from its registration to its upstream socket.
//!
//! Each step takes what the step before has made; none goes back. The protocols differ only in how a request is read and
//! how its bytes are carried: they all come through [`admit`] and [`connect`], so that policy, limits, screening and
//! accounting cannot differ between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use certs::VerifiedDevice;
use config::settings::Limits;
use config::{AgentName, Destination, DeviceId, Limit, Reason};
use policy_sync::Grant;

use crate::authorize::{Permit, authorize};
use crate::budget::{BudgetSubject, Meter};
use crate::dial::dial;
use crate::egress::Egress;
use crate::forward::{Kept, UpstreamKey};
use crate::gateway::Gateway;
use crate::record::LiveSession;
use crate::registry::{Entry, Kind, Session, Stage};
use crate::reply::Refusal;
use crate::resolve::ScreenedAddrs;
use crate::screen::EgressAddr;
use crate::tunnel::{self, Downstream, Opening};

/// One request, read and checked, of one device.
#[derive(Debug)]
pub struct Asked {
    /// Whose request it is.
    pub device: Arc<VerifiedDevice>,
    /// The agent that the request named.
    pub requested_agent: Option<AgentName>,
    /// Where it wants to go.
    pub destination: Destination,
    /// Bytes that are certain to go upstream if it is let through, where the request declares them.
    pub declared_upload: Option<u64>,
}

/// A session that the policy lets through and whose budget is open.
#[derive(Debug)]
pub struct Admitted {
    /// The session and its account.
    pub live: LiveSession,
    /// The proof.
    pub permit: Permit,
    /// What its writes are charged to.
    pub meter: Arc<Meter>,
    /// How many bytes it has said that it will upload.
    declared_upload: Option<u64>,
}

/// A session that is let through and has reached its destination.
#[derive(Debug)]
pub struct Opened {
    /// The session and its account.
    pub live: LiveSession,
    /// The proof.
    pub permit: Permit,
    /// What its writes are charged to.
    pub meter: Arc<Meter>,
    /// Where its upstream socket is connected to.
    pub address: SocketAddr,
    /// Whether that socket had rested in the pool.
    pub reused: bool,
}

/// A session with its upstream socket, metered and gated.
#[derive(Debug)]
pub struct Connected {
    /// The session.
    pub opened: Opened,
    /// The socket.
    pub egress: Egress,
}

/// Registers a session, decides it and opens its budget.
///
/// # Errors
/// The refusal to answer with; it has been accounted for.
pub fn admit(gateway: &Arc<Gateway>, kind: Kind, asked: Asked) -> Result<Admitted, Refusal> {
    let Asked { device, requested_agent, destination, declared_upload } = asked;
    let entry = Entry { device, requested_agent, destination: Some(destination) };
    let live = LiveSession::enter(gateway, kind, entry);
    let permit = match authorize(gateway, &live) {
        Ok(permit) => permit,
        Err(denial) => return Err(live.denied(&denial)),
    };
    let meter = match open_budget(gateway, &permit) {
        Ok(meter) => meter,
        Err(reason) => return Err(live.refused(reason, None)),
    };
    if meter.spent().is_some() || meter.affords(declared_upload.unwrap_or(0)).is_err() {
        return Err(live.refused(Reason::UploadBudgetSpent, None));
    }
    let meter = Arc::new(meter);
    live.session().charge_to(&meter);
    Ok(Admitted { live, permit, meter, declared_upload })
}

/// Waits for a part of the budget where several gateways share it; then looks up, screens and dials the destination of an
/// admitted session. Where a request may follow others (`kept`), a connection of the same device that is kept at hand or
/// rests in the pool serves again. A revocation ends it at any point.
///
/// # Errors
/// The refusal to answer with; it has been accounted for.
pub async fn connect(
    gateway: &Gateway,
    admitted: Admitted,
    kept: Option<&mut Kept<Egress>>,
) -> Result<Connected, Refusal> {
    let Admitted { mut live, permit, meter, declared_upload } = admitted;
    let session = Arc::clone(live.session());
    let reached = async {
        meter.opened(declared_upload).await.map_err(|fault| (fault.refusal(), None))?;
        reach(gateway, &session, &permit, &meter, kept).await
    };
    match session.unless_cut(reached).await {
        Ok(Ok(reached)) => {
            let Reached { egress, address, reused } = reached;
            live.allowed(Some(address.ip()));
            Ok(Connected { opened: Opened { live, permit, meter, address, reused }, egress })
        }
        Ok(Err((reason, detail))) => Err(live.refused(reason, detail)),
        Err(reason) => Err(live.refused(reason, None)),
    }
}

/// Dials the destination of an open session anew: the connection from the pool had been closed meanwhile.
///
/// # Errors
/// Why it cannot be reached now, or why the session is to end.
pub async fn redial(gateway: &Gateway, opened: &mut Opened) -> Result<Egress, Reason> {
    let session = Arc::clone(opened.live.session());
    let fresh = dial_anew(gateway, &session, &opened.permit, &opened.meter);
    let reached = session.unless_cut(fresh).await?.map_err(|(reason, _)| reason)?;
    opened.address = reached.address;
    opened.reused = false;
    Ok(reached.egress)
}

/// Carries an open session to its end, accounts for it, and gives back what it held all the while.
///
/// What the future is made of is what an idle tunnel occupies. So everything is taken apart before the future exists: an
/// `async fn` would keep room for its arguments beside the room for their parts.
pub fn carry<D: Downstream, H: Send>(
    gateway: &Gateway,
    mut downstream: D,
    connected: Connected,
    early: Bytes,
    held: H,
) -> impl Future<Output = ()> + Send + use<D, H> {
    let Connected { opened: Opened { live, permit, .. }, mut egress } = connected;
    let first_flight = gateway.settings.load().deadlines.first_flight;
    async move {
        let opening = Opening { expectation: permit.tls(), destination: permit.destination(), first_flight };
        let session = Arc::clone(live.session());
        let ending = tunnel::run(&session, &mut downstream, &mut egress, opening, early).await;
        // Sockets first, so that the account of the ending is true when it is read.
        drop((downstream, egress));
        live.ended(ending);
        drop(held);
    }
}

type Unreached = (Reason, Option<&'static str>);

struct Reached {
    egress: Egress,
    address: SocketAddr,
    reused: bool,
}

async fn reach(
    gateway: &Gateway,
    session: &Arc<Session>,
    permit: &Permit,
    meter: &Arc<Meter>,
    kept: Option<&mut Kept<Egress>>,
) -> Result<Reached, Unreached> {
    let Some(kept) = kept else {
        return dial_anew(gateway, session, permit, meter).await;
    };
    let addresses = look_up(gateway, session, permit).await?;
    for address in addresses.iter().map(EgressAddr::socket_addr) {
        let key = upstream_key(permit, address);
        let at_hand = kept.take(&key);
        let again = if at_hand.is_some() { at_hand } else { gateway.upstreams.take(&key).await };
        if let Some(egress) = again {
            egress.hold().charge(Arc::clone(session), Arc::clone(meter));
            return Ok(Reached { egress, address, reused: true });
        }
    }
    open(gateway, session, permit, meter, &addresses).await
}

async fn dial_anew(
    gateway: &Gateway,
    session: &Arc<Session>,
    permit: &Permit,
    meter: &Arc<Meter>,
) -> Result<Reached, Unreached> {
    let addresses = look_up(gateway, session, permit).await?;
    open(gateway, session, permit, meter, &addresses).await
}

async fn look_up(gateway: &Gateway, session: &Session, permit: &Permit) -> Result<ScreenedAddrs, Unreached> {
    session.enter_stage(Stage::Resolving);
    let began = Instant::now();
    let resolver = gateway.resolver.load_full();
    let addresses = resolver.resolve(permit).await.map_err(|fault| (fault.reason(), fault.detail()))?;
    gateway.metrics.resolve_seconds.observe(began.elapsed().as_secs_f64());
    Ok(addresses)
}

async fn open(
    gateway: &Gateway,
    session: &Arc<Session>,
    permit: &Permit,
    meter: &Arc<Meter>,
    addresses: &ScreenedAddrs,
) -> Result<Reached, Unreached> {
    session.enter_stage(Stage::Dialling);
    let began = Instant::now();
    let deadline = gateway.settings.load().deadlines.dial;
    let socket = dial(permit, addresses, deadline).await.map_err(|fault| (fault.reason(), None))?;
    gateway.metrics.dial_seconds.observe(began.elapsed().as_secs_f64());
    let address = socket.peer_addr().map_err(|_| (Reason::ConnectionFailed, None))?;
    let egress = Egress::new(socket, Arc::clone(session), Arc::clone(meter));
    Ok(Reached { egress, address, reused: false })
}

/// Under what a connection rests: nobody but the same device under the same manifest gets it back.
#[must_use]
pub fn upstream_key(permit: &Permit, address: SocketAddr) -> UpstreamKey {
    UpstreamKey {
        device: permit.device().clone(),
        manifest: permit.manifest().manifest.id.clone(),
        destination: permit.destination().clone(),
        address,
    }
}

fn open_budget(gateway: &Gateway, permit: &Permit) -> Result<Meter, Reason> {
    let settings = gateway.settings.load();
    let subject = budget_subject(permit.device(), permit.grant(), permit.rule(), &settings.limits);
    gateway.budgets.meter(&subject, gateway.clock.now()).map_err(|fault| {
        tracing::error!(%fault, "budget not available");
        fault.reason()
    })
}

/// What a grant lets a device upload: the entry's word, else the manifest's, else the gateway's default. `rule` is the
/// entry's pattern as text.
#[must_use]
pub fn budget_subject<'a>(
    device: &'a DeviceId,
    grant: &'a Grant,
    rule: Option<&'a str>,
    defaults: &Limits,
) -> BudgetSubject<'a> {
    let live = &*grant.manifest;
    let network = &live.manifest.network;
    let entry = grant.rule.and_then(|rule| live.rules.allow_entry(rule));
    let per_session = entry
        .and_then(|entry| entry.upload_bytes_per_session)
        .or(network.upload_bytes_per_session)
        .unwrap_or(defaults.upload_bytes_per_session);
    BudgetSubject {
        device,
        agent: &live.manifest.agent,
        issued_at: live.issued_at,
        expires_at: live.expires_at,
        manifest_limit: network.upload_bytes.unwrap_or(defaults.upload_bytes),
        rule: entry.zip(rule).map(|(entry, rule)| (rule, entry.upload_bytes.unwrap_or(Limit::Unlimited))),
        session_limit: per_session,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::{DeviceStream, StreamTunnel};

    fn size_of_future<D, H, F>(_: impl Fn(&Gateway, D, Connected, Bytes, H) -> F) -> usize {
        size_of::<F>()
    }

    /// What lives as long as a tunnel does, idle or not, in bytes. Whoever makes one of these larger pays for it
    /// thousands of times; whoever makes one smaller lowers its bound.
    #[test]
    fn what_lives_as_long_as_an_idle_tunnel_is_small() {
        let over_http1 = size_of_future(carry::<DeviceStream, tokio::sync::OwnedSemaphorePermit>);
        let over_http2 = size_of_future(carry::<StreamTunnel, Arc<()>>);
        let lives = [
            ("the future of a tunnel over HTTP/1.1", over_http1, 1536),
            ("the future of a tunnel over HTTP/2", over_http2, 1536),
            ("Session", size_of::<Session>(), 288),
            ("Gate", size_of::<crate::registry::Gate>(), 40),
            ("SessionGuard", size_of::<crate::registry::SessionGuard>(), 16),
            ("Authority", size_of::<crate::registry::Authority>(), 40),
            ("LiveSession", size_of::<LiveSession>(), 48),
            ("Permit", size_of::<Permit>(), 104),
            ("Meter", size_of::<Meter>(), 104),
            ("Egress", size_of::<Egress>(), 32),
            ("DeviceStream", size_of::<DeviceStream>(), 8),
            ("StreamTunnel", size_of::<StreamTunnel>(), 80),
            ("VerifiedDevice", size_of::<VerifiedDevice>(), 176),
            ("CertificateId", size_of::<certs::CertificateId>(), 64),
        ];
        let grown: Vec<_> = lives.into_iter().filter(|(_, bytes, most)| bytes > most).collect();
        assert_eq!(grown, [], "name, bytes, and the bytes that it had at most");
    }
}
