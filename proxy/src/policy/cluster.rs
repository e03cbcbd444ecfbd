//! How is a NATS cluster reached, and with what does the gateway sign there?
//!
//! On a bus that others share nobody knows who speaks: what the gateway reports is signed, and what it is told is verified.
//! The files that `[nats]` names are read anew for every connection.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use config::settings::NatsLink;
use policy_sync::transport::Link;
use policy_sync::transport::nats::{self, NatsLinkOptions, NatsOptions};
use policy_sync::{KeyId, KeyRing, SigningKey};

/// The way to a NATS cluster.
pub(super) struct Cluster {
    link: Arc<nats::NatsLink>,
    /// The keys that count now.
    keys: Arc<ArcSwap<KeyRing>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The way that the settings name. Connects to nobody yet.
    ///
    /// # Errors
    /// A key that cannot be read, or a name that NATS cannot carry.
    pub(super) fn new(link: &NatsLink, keys: KeyRing) -> anyhow::Result<Self> {
        let id = KeyId::new(&link.report.id)
            .with_context(|| format!("nats.report_key_id: {} is no name of a key", link.report.id))?;
        let report = SigningKey::read(id, &link.report.path).context("nats.report_key")?;
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let now = Arc::clone(&keys);
        let options = NatsLinkOptions { nats: NatsOptions::from(&link.nats), report };
        let link = nats::NatsLink::new(options, Arc::new(move || now.load_full())).context("nats")?;
        Ok(Self { link, keys })
    }

    pub(super) fn link(&self) -> Arc<dyn Link> {
        Arc::clone(&self.link) as Arc<dyn Link>
    }

    pub(super) fn replace(&self, keys: KeyRing) {
        self.keys.store(Arc::new(keys));
    }
}
