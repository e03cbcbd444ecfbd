//! Where is the log of policy, and how do gateways come to it?
//!
//! Embedded: a file of this process, and a listener. NATS: streams of a cluster, where gateways report too. Whichever it is,
//! the plane sees one transport, and beginning to serve gateways comes last: nobody is heard before there is an answer.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use certs::{
    CertificateId, GatewayTrust, GatewayVerifier, Refusal, ServerCertificate, gateway_server_config,
};
use config::settings::{ControlSettings, Store};
use policy_sync::control::Plane;
use policy_sync::transport::Transport;
use policy_sync::transport::embedded::Embedded;
use policy_sync::transport::embedded::serve::{Identify, serve_gateways};
use policy_sync::transport::nats::{Attendance, BusMetrics, NatsOptions, NatsTransport};
use policy_sync::{KeyRing, SigningKey};
use prometheus::Registry;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;

/// An open log.
pub(super) enum Opened {
    Embedded(Arc<Embedded>),
    Nats(Arc<NatsTransport>),
}

impl Opened {
    /// Opens the log that the settings name.
    ///
    /// # Errors
    /// When the file cannot be used, or the cluster cannot be reached or is not fit to keep a log.
    pub(super) async fn open(settings: &ControlSettings, registry: &Registry) -> anyhow::Result<Self> {
        match &settings.store {
            Store::Embedded => {
                let directory = settings.control.state_dir.join("log");
                let opened = Embedded::open(&directory, registry);
                opened.map(Self::Embedded).with_context(|| directory.display().to_string())
            }
            Store::Nats(nats) => {
                let opened = NatsTransport::open(&NatsOptions::from(nats)).await;
                opened.map(Self::Nats).context("store.source")
            }
        }
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        match self {
            Self::Embedded(embedded) => Arc::clone(embedded) as Arc<dyn Transport>,
            Self::Nats(nats) => Arc::clone(nats) as Arc<dyn Transport>,
        }
    }
}

/// How gateways that connect are believed.
pub(super) struct Entrance {
    pub(super) verifier: Arc<GatewayVerifier>,
    pub(super) tls: Arc<ArcSwap<ServerConfig>>,
}

impl Entrance {
    pub(super) fn new(trust: &GatewayTrust, certificate: &ServerCertificate) -> anyhow::Result<Self> {
        let verifier = Arc::new(GatewayVerifier::new(trust).context("trust")?);
        let tls = Arc::new(ArcSwap::from(entrance_tls(certificate, &verifier)?));
        Ok(Self { verifier, tls })
    }

    /// Whom a connection proves: asked at its start and every few seconds, so that a reload ends those it no longer believes.
    /// What the log revokes proves nobody either.
    fn identify(&self, plane: &Arc<Plane>) -> Identify {
        let (verifier, plane) = (Arc::clone(&self.verifier), Arc::clone(plane));
        Arc::new(move |chain: &[CertificateDer<'_>]| {
            let now = jiff::Timestamp::now().as_second();
            let gateway = verifier.identify(chain, now).map_err(|refusal| refusal.to_string())?;
            let leaf = chain.first().and_then(CertificateId::of);
            let leaf = leaf.ok_or_else(|| Refusal::Malformed.to_string())?;
            if plane.with_state(|state| state.revokes(&leaf)) {
                return Err(format!("{}, by the log of policy", Refusal::Revoked));
            }
            Ok(gateway.to_string())
        })
    }

    /// Serves gateways over a log of our own, until `shutdown` is done.
    pub(super) async fn serve(
        &self,
        embedded: Arc<Embedded>,
        listener: TcpListener,
        plane: Arc<Plane>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        let (tls, identify) = (Arc::clone(&self.tls), self.identify(&plane));
        serve_gateways(embedded, listener, tls, identify, plane, shutdown).await
    }
}

/// TLS of the listener for gateways.
///
/// # Errors
/// When rustls cannot use it.
pub(super) fn entrance_tls(
    certificate: &ServerCertificate,
    verifier: &Arc<GatewayVerifier>,
) -> anyhow::Result<Arc<ServerConfig>> {
    Ok(gateway_server_config(certificate, Arc::clone(verifier), &[b"h2"])?)
}

/// Begins to hear gateways over NATS.
///
/// # Errors
/// When nothing can be subscribed to.
pub(super) async fn attend(
    nats: &NatsTransport,
    plane: Arc<Plane>,
    ring: Arc<ArcSwap<KeyRing>>,
    control: SigningKey,
    registry: &Registry,
) -> anyhow::Result<()> {
    let attendance = Attendance {
        desk: plane,
        keys: Arc::new(move || ring.load_full()),
        control: Arc::new(control),
        metrics: BusMetrics::register(registry)?,
    };
    nats.attend(attendance).await.context("store.source")
}
