//! Where does the policy come from? The link between the gateway and its policy source.
//!
//! Starts the source that the settings name, has its changes enforced here, and hands its CRLs to the trust. The source
//! runs on a thread of its own and publishes from there: a change takes effect on that thread, before anything else
//! waits for it.

mod cluster;
mod control;

use std::path::Path;
use std::sync::{Arc, Weak};

use anyhow::Context as _;
use certs::Document;
use config::GatewaySettings;
use config::settings::PolicySource;
use policy_sync::transport::Link;
use policy_sync::{Approvals, CrlSink, DirOptions, DirSource, FollowOptions, FollowSource, KeyRing};

use crate::assemble::policy_bounds;
use crate::gateway::Gateway;
use crate::revoke::{Revoker, take_crls};
use cluster::Cluster;
use control::{ControlPlane, ControlTls};

/// A running policy source. Dropping it ends the watching; what it published stays in force.
#[derive(Debug)]
pub struct PolicyLink(Source);

#[derive(Debug)]
enum Source {
    Dir(DirSource),
    Control(FollowSource, ControlPlane),
    Nats(FollowSource, Cluster),
}

/// What was read for a reload.
#[derive(Debug)]
pub struct Prepared {
    keys: KeyRing,
    tls: Option<ControlTls>,
}

impl PolicyLink {
    /// Subscribes the gateway and starts the source.
    ///
    /// # Errors
    /// When the key ring or a certificate cannot be read, or what must not be forgotten cannot be kept.
    pub fn start(gateway: &Arc<Gateway>) -> anyhow::Result<Self> {
        let settings = gateway.settings.load_full();
        let keys = keys(&settings.policy.keys)?;
        let source = match &settings.policy.source {
            PolicySource::Dir(directory) => Source::Dir(watch(gateway, &settings, directory, keys)?),
            PolicySource::Control(link) => {
                let control = ControlPlane::new(link, &settings)?;
                Source::Control(follow(gateway, &settings, control.link(), keys)?, control)
            }
            PolicySource::Nats(link) => {
                let cluster = Cluster::new(link, keys.clone())?;
                Source::Nats(follow(gateway, &settings, cluster.link(), keys)?, cluster)
            }
        };
        Ok(Self(source))
    }

    /// Reads what can be prepared of a reload, so that putting it in force cannot fail.
    ///
    /// # Errors
    /// When the key ring or a certificate cannot be read.
    pub fn prepare(settings: &GatewaySettings) -> anyhow::Result<Prepared> {
        let tls = match &settings.policy.source {
            PolicySource::Control(link) => Some(ControlTls::read(link, settings)?),
            PolicySource::Dir(_) | PolicySource::Nats(_) => None,
        };
        Ok(Prepared { keys: keys(&settings.policy.keys)?, tls })
    }

    /// Puts other keys, certificates, approvals and bounds in force; every manifest is verified anew.
    pub fn reload(&self, prepared: Prepared, settings: &GatewaySettings) {
        let (approvals, bounds) = (Approvals::new(&settings.policy.approval), policy_bounds(settings));
        match &self.0 {
            Source::Dir(source) => source.reload(prepared.keys, approvals, bounds),
            Source::Control(source, control) => {
                if let Some(tls) = prepared.tls {
                    control.replace(tls);
                }
                source.reload(prepared.keys, approvals, bounds);
            }
            Source::Nats(source, cluster) => {
                cluster.replace(prepared.keys.clone());
                source.reload(prepared.keys, approvals, bounds);
            }
        }
    }
}

fn watch(
    gateway: &Arc<Gateway>,
    settings: &GatewaySettings,
    directory: &Path,
    keys: KeyRing,
) -> anyhow::Result<DirSource> {
    let state = settings.gateway.state_dir.join("policy");
    let mut options = DirOptions::new(directory, state, keys, policy_bounds(settings));
    options.approvals = Approvals::new(&settings.policy.approval);
    gateway.feed.subscribe(Arc::new(Revoker::new(gateway)));
    let (feed, recorder) = (Arc::clone(&gateway.feed), gateway.recorder.clone());
    Ok(DirSource::start(options, feed, recorder, &gateway.scrape, crl_sink(gateway))?)
}

fn follow(
    gateway: &Arc<Gateway>,
    settings: &GatewaySettings,
    link: Arc<dyn Link>,
    keys: KeyRing,
) -> anyhow::Result<FollowSource> {
    gateway.budgets.draw_from(Arc::new(Arc::clone(&link)));
    // Not where a directory's policy is kept: what one source has seen says nothing of the other.
    let state = settings.gateway.state_dir.join("followed");
    let mut options = FollowOptions::new(state, keys, policy_bounds(settings), link);
    options.approvals = Approvals::new(&settings.policy.approval);
    options.version = env!("CARGO_PKG_VERSION").to_owned();
    let registry = Arc::downgrade(&gateway.registry);
    options.sessions = Box::new(move || registry.upgrade().map_or(0, |registry| registry.len() as u64));
    gateway.feed.subscribe(Arc::new(Revoker::new(gateway)));
    let (feed, recorder) = (Arc::clone(&gateway.feed), gateway.recorder.clone());
    Ok(FollowSource::start(options, feed, recorder, &gateway.scrape, crl_sink(gateway))?)
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
