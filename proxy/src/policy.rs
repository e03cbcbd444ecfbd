//! Where does the policy come from? The link between the gateway and its policy source.
//!
//! Starts the source that the settings name, has its changes enforced here, and hands its CRLs to the trust. The source
//! runs on a thread of its own and publishes from there: a change takes effect on that thread, before anything else
//! waits for it.

use std::path::Path;
use std::sync::{Arc, Weak};

use anyhow::Context as _;
use certs::Document;
use config::GatewaySettings;
use config::settings::PolicySource;
use policy_sync::{Approvals, CrlSink, DirOptions, DirSource, KeyRing};

use crate::assemble::policy_bounds;
use crate::gateway::Gateway;
use crate::revoke::{Revoker, take_crls};

/// A running policy source. Dropping it ends the watching; what it published stays in force.
#[derive(Debug)]
pub struct PolicyLink(DirSource);

impl PolicyLink {
    /// Subscribes the gateway and starts the source.
    ///
    /// # Errors
    /// When the key ring cannot be read, or what must not be forgotten cannot be kept.
    pub fn start(gateway: &Arc<Gateway>) -> anyhow::Result<Self> {
        let settings = gateway.settings.load_full();
        let PolicySource::Dir(directory) = &settings.policy.source else {
            anyhow::bail!("policy.source: only dir: can be followed yet");
        };
        let mut options = DirOptions::new(
            directory,
            settings.gateway.state_dir.join("policy"),
            keys(&settings.policy.keys)?,
            policy_bounds(&settings),
        );
        options.approvals = Approvals::new(&settings.policy.approval);
        gateway.feed.subscribe(Arc::new(Revoker::new(gateway)));
        let source = DirSource::start(
            options,
            Arc::clone(&gateway.feed),
            gateway.recorder.clone(),
            &gateway.scrape,
            crl_sink(gateway),
        )?;
        Ok(Self(source))
    }

    /// Reads what can be prepared of a reload, so that putting it in force cannot fail.
    ///
    /// # Errors
    /// When the key ring cannot be read.
    pub fn prepare(settings: &GatewaySettings) -> anyhow::Result<KeyRing> {
        keys(&settings.policy.keys)
    }

    /// Puts other keys, approvals and bounds in force; every manifest is verified anew.
    pub fn reload(&self, keys: KeyRing, settings: &GatewaySettings) {
        self.0.reload(keys, Approvals::new(&settings.policy.approval), policy_bounds(settings));
    }
}

fn keys(path: &Path) -> anyhow::Result<KeyRing> {
    let text = std::fs::read_to_string(path).with_context(|| format!("policy.keys {}", path.display()))?;
    Ok(KeyRing::parse(&path.display().to_string(), &text)?)
}

fn crl_sink(gateway: &Arc<Gateway>) -> CrlSink {
    let gateway: Weak<Gateway> = Arc::downgrade(gateway);
    Box::new(move |documents: Vec<Document>| {
        if let Some(gateway) = gateway.upgrade() {
            take_crls(&gateway, &documents);
        }
    })
}
