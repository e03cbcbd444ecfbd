//! What most tests hold: one gateway with everything around it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tempfile::TempDir;

use crate::builder::LabBuilder;
use crate::device::{self, Device};
use crate::manifest::Draft;
use crate::pki::{Credentials, Pki};
use crate::policy::PolicyDir;
use crate::site::Site;
use crate::wait::{PATIENCE, eventually};

/// A gateway, its policy, its certificates and its files.
#[derive(Debug)]
pub struct Lab {
    /// The device authority.
    pub pki: Pki,
    /// The signed policy.
    pub policy: PolicyDir,
    // Declared before the directory, dropped before it.
    pub(crate) site: Site,
    pub(crate) _dir: TempDir,
}

/// A lab is its gateway, and more.
impl Deref for Lab {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Lab {
    /// A lab to be set up.
    #[must_use]
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// A lab with one manifest and nothing out of the ordinary.
    pub async fn with(draft: Draft) -> Self {
        Self::builder().manifest(draft).start().await
    }

    /// A device with a certificate of its own.
    #[must_use]
    pub fn device(&self, device: &str) -> Device {
        self.device_with(self.pki.device(device))
    }

    /// A device with this certificate.
    #[must_use]
    pub fn device_with(&self, credentials: Credentials) -> Device {
        Device {
            credentials: Some(Arc::new(credentials)),
            gateway: self.gateway().addresses.device[0],
            roots: self.pki.roots(),
            versions: &device::TLS13,
            preamble: Vec::new(),
            resumption: rustls::client::Resumption::disabled(),
        }
    }

    /// Signs a manifest into the policy and waits until the gateway has judged it.
    pub async fn push(&self, draft: &Draft) {
        let seen = self.judged(draft);
        self.policy.push(draft);
        let what = format!("the gateway judges manifest {}", draft.id_text());
        eventually(PATIENCE, &what, async || (self.judged(draft) > seen).then_some(())).await;
    }

    fn judged(&self, draft: &Draft) -> usize {
        let id = draft.id_text();
        let events = self.events();
        let of = |kind: &str| {
            events.of(kind).iter().filter(|event| event["capability_manifest_id"] == id.as_str()).count()
        };
        of("control.manifest_accepted") + of("control.manifest_refused")
    }

    /// Signs a revocation into the policy and waits until the gateway has applied it.
    pub async fn revoke(&self, target: policy_sync::Target) {
        let seen = self.events().of("control.revoked").len();
        self.policy.revoke(target);
        eventually(PATIENCE, "the gateway applies the revocation", async || {
            (self.events().of("control.revoked").len() > seen).then_some(())
        })
        .await;
    }

    /// Publishes the authority's current CRL through the policy and waits until the gateway has taken it.
    pub async fn crl(&self) {
        let seen = self.events().of("control.crl_updated").len();
        self.policy.crl(&self.pki.crl());
        eventually(PATIENCE, "the gateway takes the CRL", async || {
            (self.events().of("control.crl_updated").len() > seen).then_some(())
        })
        .await;
    }
}
