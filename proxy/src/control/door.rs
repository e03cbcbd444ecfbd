//! How are devices believed where their agents connect?
//!
//! As at a gateway: the same trust, the same names, and the lists of revoked certificates that the files name. What the log
//! says of certificates besides is looked at by whoever answers.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use certs::{DeviceVerifier, HighWater, ServerCertificate, TlsVersions, Trust, TrustSettings, server_config};
use jiff::Timestamp;
use policy_sync::control::Plane;
use policy_sync::control::agents::Agents;
use prometheus::Registry;
use rustls::ServerConfig;

/// The listener for agents, all but its socket.
pub(super) struct Door {
    pub(super) verifier: Arc<DeviceVerifier>,
    pub(super) tls: Arc<ArcSwap<ServerConfig>>,
    pub(super) agents: Arc<Agents>,
}

impl Door {
    /// # Errors
    /// Certificates or lists that cannot be used.
    pub(super) fn new(
        trust: &TrustSettings,
        certificate: &ServerCertificate,
        plane: &Arc<Plane>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let trust = Trust::load(trust, &HighWater::default(), now()).context("trust")?;
        let verifier = Arc::new(DeviceVerifier::new(trust, None));
        let tls = Arc::new(ArcSwap::from(door_tls(certificate, &verifier)?));
        let agents = Agents::open(Arc::clone(plane), Arc::clone(&verifier), registry)?;
        Ok(Self { verifier, tls, agents })
    }

    /// Believes what is new, from the next request on.
    ///
    /// # Errors
    /// Certificates or lists that cannot be used; nothing has changed then.
    pub(super) fn reload(&self, trust: &TrustSettings, tls: Arc<ServerConfig>) -> anyhow::Result<()> {
        let update = self.verifier.reload(trust, now())?;
        for refused in &update.refused {
            tracing::error!(%refused, "crl refused");
        }
        self.tls.store(tls);
        Ok(())
    }
}

/// TLS of the listener for agents.
///
/// # Errors
/// When rustls cannot use it.
pub(super) fn door_tls(
    certificate: &ServerCertificate,
    verifier: &Arc<DeviceVerifier>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
    Ok(server_config(certificate, Arc::clone(verifier), TlsVersions::Tls13, &alpn, None, None)?)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
