//! How is the control plane reached, and what does the gateway show it?
//!
//! Reads the certificates that `[control]` names, and refuses one that the control plane would refuse, before anything
//! depends on it. A reload reads them again; the next connection uses them.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use certs::{Document, ServerCertificate, TrustDomain, client_config};
use config::settings::{ControlLink, GatewaySettings};
use policy_sync::transport::Link;
use policy_sync::transport::embedded::link;
use rustls::ClientConfig;

/// The way to a control plane.
pub(super) struct ControlPlane {
    link: Arc<link::ControlLink>,
    tls: Arc<ArcSwap<ClientConfig>>,
}

/// What the next connection is made with.
#[derive(Debug)]
pub(super) struct ControlTls(Arc<ClientConfig>);

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// The way that the settings name. Connects to nobody yet.
    ///
    /// # Errors
    /// A certificate that cannot be read, or that does not say who this gateway is.
    pub(super) fn new(link: &ControlLink, settings: &GatewaySettings) -> anyhow::Result<Self> {
        let ControlTls(tls) = ControlTls::read(link, settings)?;
        let tls = Arc::new(ArcSwap::from(tls));
        let to = link.endpoint.destination();
        let link = link::ControlLink::new(&to.host().to_string(), to.port(), Arc::clone(&tls))?;
        Ok(Self { link: Arc::new(link), tls })
    }

    pub(super) fn link(&self) -> Arc<dyn Link> {
        Arc::clone(&self.link) as Arc<dyn Link>
    }

    pub(super) fn replace(&self, ControlTls(tls): ControlTls) {
        self.tls.store(tls);
    }
}

impl ControlTls {
    pub(super) fn read(link: &ControlLink, settings: &GatewaySettings) -> anyhow::Result<Self> {
        let own = ServerCertificate::load(&link.certificate, &link.key).context("control.certificate")?;
        says_who_we_are(&own, link, settings)?;
        let roots = Document::read(&link.ca).context("control.ca")?;
        Ok(Self(client_config(&roots, Some(&own), &[b"h2"]).context("control.ca")?))
    }
}

/// Whoever has no trust domain to compare with learns from the control plane what is wrong.
fn says_who_we_are(
    own: &ServerCertificate,
    link: &ControlLink,
    settings: &GatewaySettings,
) -> anyhow::Result<()> {
    let Some(domain) = &settings.trust.trust_domain else { return Ok(()) };
    let domain: TrustDomain = domain.as_str().parse().context("trust.trust_domain")?;
    let file = link.certificate.display();
    let named = own.gateway(&domain).with_context(|| {
        format!("control.certificate {file} names no gateway as spiffe://{domain}/gateway/NAME")
    })?;
    match settings.gateway.name.as_deref() {
        Some(name) if name != named.as_str() => {
            anyhow::bail!("gateway.name is {name}, and control.certificate {file} is {named}'s")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use certs::authority::Authority;
    use config::Source;

    use super::*;

    fn settings(directory: &Path, name: &str) -> GatewaySettings {
        let text = format!(
            "gateway.name = \"{name}\"\n\
             tls = {{ certificate = \"own.pem\", key = \"own.key\" }}\n\
             trust = {{ device_ca = [\"ca/ca.pem\"], trust_domain = \"example.org\" }}\n\
             policy = {{ source = \"control:https://127.0.0.1:7443\", keys = \"keys.toml\" }}\n\
             control.ca = \"ca/ca.pem\"\n"
        );
        GatewaySettings::read(&Source::new(directory.join("gateway.toml").display().to_string(), text))
            .unwrap()
    }

    fn reading(directory: &Path, name: &str) -> Result<(), String> {
        let settings = settings(directory, name);
        let config::settings::PolicySource::Control(link) = &settings.policy.source else { panic!("a link") };
        ControlPlane::new(link, &settings).map(drop).map_err(|fault| format!("{fault:#}"))
    }

    #[test]
    fn a_certificate_that_the_control_plane_would_refuse_is_refused_here_first() {
        let directory = tempfile::tempdir().unwrap();
        let year = Duration::from_secs(365 * 86_400);
        let authority = Authority::init(&directory.path().join("ca"), "example.org", year).unwrap();
        let (chain, key) = (directory.path().join("own.pem"), directory.path().join("own.key"));
        assert!(reading(directory.path(), "gw-1").unwrap_err().contains("control.certificate"));
        authority.issue_gateway("gw-1", &["localhost"], &[], year).unwrap().write(&chain, &key).unwrap();
        assert_eq!(reading(directory.path(), "gw-1"), Ok(()));
        let other = reading(directory.path(), "gw-2").unwrap_err();
        assert!(other.contains("gateway.name is gw-2") && other.contains("gw-1's"), "{other}");
        authority.issue_control("gw-1", &["localhost"], &[], year).unwrap().write(&chain, &key).unwrap();
        let nobody = reading(directory.path(), "gw-1").unwrap_err();
        assert!(nobody.contains("names no gateway"), "{nobody}");
    }
}
