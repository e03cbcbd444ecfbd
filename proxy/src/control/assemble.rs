//! From settings to a control plane: every file is read, every part is made, and the first fault refuses to start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use audit::{Recorder, RecorderOptions, Sink};
use axum::Router;
use certs::{ServerCertificate, TlsVersions, server_config_without_device_authentication};
use config::settings::{AuditSink, ControlSettings};
use policy_sync::control::api::{self, ApiOptions};
use policy_sync::control::callers::{CallerLimits, Callers};
use policy_sync::control::checkout::Checkout;
use policy_sync::control::signals::{self, Receiver, ReceiverOptions, Revokes};
use policy_sync::control::{Plane, PlaneOptions};
use policy_sync::{Approvals, KeyRing, PolicyBounds};
use prometheus::Registry;
use rustls::ServerConfig;

use super::door::Door;
use super::files::{Files, signing_key};
use super::life::Epoch;
use super::store::{Entrance, Opened, attend};

/// A control plane with everything that it needs to be served.
pub(super) struct Control {
    pub(super) settings: ArcSwap<ControlSettings>,
    /// Where the settings were read.
    pub(super) path: PathBuf,
    pub(super) plane: Arc<Plane>,
    pub(super) opened: Opened,
    pub(super) callers: Arc<Callers>,
    pub(super) signals: Arc<Receiver>,
    /// The keys that count now.
    pub(super) ring: Arc<ArcSwap<KeyRing>>,
    pub(super) api_tls: Arc<ArcSwap<ServerConfig>>,
    /// Present exactly where gateways connect.
    pub(super) entrance: Option<Entrance>,
    /// Present exactly where agents connect.
    pub(super) door: Option<Door>,
    /// The directory that feeds the log, if one does.
    pub(super) checkout: Option<Checkout>,
    pub(super) recorder: Recorder,
    pub(super) registry: Registry,
}

impl Control {
    /// Builds it, founding or following the log.
    ///
    /// # Errors
    /// What cannot be read or used, naming the setting.
    pub(super) async fn assemble(
        settings: ControlSettings,
        path: &Path,
        epoch: Epoch,
    ) -> anyhow::Result<Self> {
        let registry = Registry::new();
        let Files { ring, tokens, oidc, certificate, crl_issuers, gateways, devices } =
            Files::read(&settings)?;
        let recorder = recorder(&settings, &registry)?;
        let opened = Opened::open(&settings, &registry).await?;
        let optional =
            |setting, key: &Option<_>| key.as_ref().map(|key| signing_key(setting, key)).transpose();
        let plane = Plane::open(PlaneOptions {
            name: name(&settings),
            transport: opened.transport(),
            ring: ring.clone(),
            control: signing_key("keys.control", &settings.keys.control)?,
            revoker: optional("keys.revoker", &settings.keys.revoker)?,
            approver: optional("keys.approver", &settings.keys.approver)?,
            approvals: Approvals::new(&settings.policy.approval),
            crl_issuers,
            bounds: bounds(&settings),
            silent_upload: settings.policy.upload_bytes,
            new_epoch: epoch == Epoch::New,
            recorder: recorder.clone(),
            registry: registry.clone(),
        })
        .await?;
        let limits = CallerLimits {
            requests_per_second: settings.api.requests_per_second,
            burst: settings.api.burst,
            attempts_per_minute: settings.api.attempts_per_minute,
        };
        let revokes = Arc::clone(&plane) as Arc<dyn Revokes>;
        let signals = Receiver::open(ReceiverOptions {
            settings: &settings.signals,
            revokes,
            memory: opened.transport(),
            recorder: recorder.clone(),
            registry: &registry,
        });
        let signals = signals.await.context("signals")?;
        let entrance = gateways.map(|trust| Entrance::new(&trust, &certificate)).transpose()?;
        let door = devices.map(|trust| Door::new(&trust, &certificate, &plane, &registry)).transpose()?;
        let checkout = match &settings.policy.directory {
            Some(directory) => {
                let runtime = tokio::runtime::Handle::current();
                Some(
                    Checkout::start(directory, Arc::clone(&plane), runtime, &registry)
                        .context("policy.directory")?,
                )
            }
            None => None,
        };
        let ring = Arc::new(ArcSwap::from_pointee(ring));
        if let Opened::Nats(nats) = &opened {
            let control = signing_key("keys.control", &settings.keys.control)?;
            attend(nats, Arc::clone(&plane), Arc::clone(&ring), control, &registry).await?;
        }
        Ok(Self {
            path: path.to_owned(),
            plane,
            opened,
            callers: Arc::new(Callers::new(tokens, oidc, limits)),
            signals: Arc::new(signals),
            ring,
            api_tls: Arc::new(ArcSwap::from(api_tls(&certificate)?)),
            entrance,
            door,
            checkout,
            recorder,
            registry,
            settings: ArcSwap::from_pointee(settings),
        })
    }

    /// What is served over HTTPS: the API, and the endpoint that takes signals, which asks for no token of the API.
    ///
    /// # Errors
    /// When its metrics cannot be registered.
    pub(super) fn api(&self) -> anyhow::Result<Router> {
        let router = api::router(ApiOptions {
            plane: Arc::clone(&self.plane),
            callers: Arc::clone(&self.callers),
            wait: self.settings.load().api.wait,
            registry: self.registry.clone(),
        })?;
        Ok(router.merge(signals::routes(Arc::clone(&self.signals))))
    }
}

/// The control plane's name: as set, else the host's.
fn name(settings: &ControlSettings) -> String {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    settings.control.name.clone().unwrap_or_else(host)
}

/// What the settings impose on every manifest. What a gateway may deny beyond that is the gateway's.
pub(super) fn bounds(settings: &ControlSettings) -> PolicyBounds {
    PolicyBounds { max_ttl: settings.policy.max_ttl, ..PolicyBounds::default() }
}

/// TLS of the API: whoever it is for proves themselves with a token.
///
/// # Errors
/// When rustls cannot use it.
pub(super) fn api_tls(certificate: &ServerCertificate) -> anyhow::Result<Arc<ServerConfig>> {
    let alpn: [&[u8]; 2] = [b"h2", b"http/1.1"];
    Ok(server_config_without_device_authentication(certificate, TlsVersions::Tls13, &alpn)?)
}

fn recorder(settings: &ControlSettings, registry: &Registry) -> anyhow::Result<Recorder> {
    let sink = match &settings.audit {
        AuditSink::Stdout => Sink::Stdout,
        AuditSink::File(path) => Sink::File(path.clone()),
    };
    Recorder::open(RecorderOptions::new(name(settings), sink), registry).context("audit.file")
}
