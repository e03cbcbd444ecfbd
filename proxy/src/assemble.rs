//! From settings to a gateway: every file is read, every part is made, and the first fault refuses to start.
//!
//! Nothing here is optional in silence: a certificate, a CRL, a key ring or a state directory that cannot be used is an
//! error that names the file. Parts that a reload makes again have a function of their own, so that starting and
//! reloading cannot differ.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use audit::{Recorder, RecorderOptions, Sink};
use certs::{
    DeviceVerifier, Document, HighWater, IdentityRule, ServerCertificate, Tickets, Trust, TrustDomain,
    TrustSettings,
};
use config::settings::{AuditSink, IdentityField, PacTls, TlsVersions};
use config::{DenyList, GatewaySettings};
use policy_sync::{Feed, PolicyBounds};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, watch};

use crate::authorize::ConnectRates;
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::forward::Upstreams;
use crate::gateway::Gateway;
use crate::handshake::{ALPN, HandshakeNotes};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::registry::Registry;
use crate::request::{Pseudonym, Rules};
use crate::resolve::Resolver;
use crate::screen::{Screen, ScreenRules};

/// Idle plain-HTTP connections to origins that are kept, at most.
const RESTING_UPSTREAMS: usize = 1024;
/// How long such a connection is kept.
const RESTS_FOR: Duration = Duration::from_secs(30);
/// Descriptors that are not a session's: listeners, files, the resolver, the admin listener's connections.
const OWN_DESCRIPTORS: u64 = 128;

/// Builds a gateway whose listeners are bound to `listeners`.
///
/// # Errors
/// What cannot be read or used, naming the file.
pub fn assemble(settings: GatewaySettings, listeners: &[SocketAddr]) -> anyhow::Result<Arc<Gateway>> {
    let clock = Clock::start();
    let now = clock.now();
    let state = settings.gateway.state_dir.clone();
    let scrape = prometheus::Registry::new();
    let metrics = Metrics::register(&scrape).context("metrics")?;
    let recorder = recorder(&settings, &scrape)?;
    let trust = Trust::load(&trust_settings(&settings)?, &crl_marks(&state)?, now)?;
    for fault in trust.set_aside() {
        tracing::warn!(%fault, "crl set aside; its devices are refused until a newer one comes");
    }
    let verifier = Arc::new(DeviceVerifier::new(trust, Some(Arc::new(HandshakeNotes))));
    let tls = device_tls(&settings, &verifier, &clock)?;
    let screen = Arc::new(screen(&settings, listeners)?);
    let resolver = Resolver::new(&settings.dns, settings.deadlines.dns, Arc::clone(&screen))?;
    let budgets = budgets(&settings, &state.join("budgets.redb"), now, &scrape)?;
    let feed = Arc::new(Feed::new(policy_bounds(&settings)));
    let name = name(&settings);
    Ok(Arc::new(Gateway {
        registry: Arc::new(Registry::default()),
        feed,
        recorder,
        metrics,
        scrape,
        clock,
        verifier,
        tls: ArcSwap::from(tls),
        screen: ArcSwap::from(screen),
        listeners: listeners.to_vec(),
        resolver: ArcSwap::from_pointee(resolver),
        budgets,
        upstreams: Upstreams::new(RESTING_UPSTREAMS, RESTS_FOR),
        request_rules: Rules::new(Pseudonym::of_gateway(&name)),
        rates: ConnectRates::new(),
        connections: Arc::new(Semaphore::new(connections(&settings))),
        handshakes: Semaphore::new(settings.limits.handshakes as usize),
        pace: Pace::of(workers(&settings)),
        drain: watch::Sender::new(false),
        settings: ArcSwap::from_pointee(settings),
    }))
}

fn budgets(
    settings: &GatewaySettings,
    path: &Path,
    now: i64,
    scrape: &prometheus::Registry,
) -> anyhow::Result<Budgets> {
    let opened = if settings.budget.fleet {
        Budgets::open_shared(path, now, scrape)
    } else {
        Budgets::open(path, now)
    };
    opened.with_context(|| format!("{}", path.display()))
}

/// The gateway's name: as set, else the host's.
#[must_use]
pub fn name(settings: &GatewaySettings) -> String {
    settings
        .gateway
        .name
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// What the settings impose on every manifest.
#[must_use]
pub fn policy_bounds(settings: &GatewaySettings) -> PolicyBounds {
    PolicyBounds {
        deny: DenyList::compile(&settings.destinations.deny),
        allow_report_mode: settings.policy.allow_report_mode,
        max_ttl: settings.policy.max_ttl,
    }
}

/// Whom to believe, by the files that the settings name.
///
/// # Errors
/// When a file cannot be read.
pub fn trust_settings(settings: &GatewaySettings) -> anyhow::Result<TrustSettings> {
    let documents =
        |files: &[PathBuf]| files.iter().map(|file| Document::read(file)).collect::<Result<Vec<_>, _>>();
    let trust = &settings.trust;
    let rule = match (trust.identity, &trust.trust_domain) {
        (IdentityField::Dns, _) => IdentityRule::Dns,
        (IdentityField::CommonName, _) => IdentityRule::CommonName,
        (IdentityField::Spiffe, Some(domain)) => {
            IdentityRule::Spiffe(domain.as_str().parse::<TrustDomain>().context("trust.trust_domain")?)
        }
        (IdentityField::Spiffe, None) => anyhow::bail!("trust.trust_domain is not set"),
    };
    Ok(TrustSettings {
        authorities: documents(&trust.device_ca)?,
        crls: documents(&trust.crls)?,
        rule,
        crl_max_entries: trust.crl_max_entries as usize,
    })
}

/// TLS on the device port. Its tickets have keys of their own: what an earlier configuration gave out is void.
///
/// # Errors
/// When the certificate or its key cannot be used.
pub fn device_tls(
    settings: &GatewaySettings,
    verifier: &Arc<DeviceVerifier>,
    clock: &Clock,
) -> anyhow::Result<Arc<ServerConfig>> {
    let certificate = ServerCertificate::load(&settings.tls.certificate, &settings.tls.key)?;
    let versions = match settings.tls.versions {
        TlsVersions::Tls13 => certs::TlsVersions::Tls13,
        TlsVersions::Tls12And13 => certs::TlsVersions::Tls12And13,
    };
    let clock: Arc<Clock> = Arc::new(clock.clone());
    let tickets = settings.tls.resumption.map(|lifetime| {
        let notes = Arc::new(HandshakeNotes);
        Arc::new(Tickets::new(Arc::clone(verifier), notes, Arc::clone(&clock) as _, lifetime))
    });
    Ok(certs::server_config(&certificate, Arc::clone(verifier), versions, &ALPN, Some(clock), tickets)?)
}

/// TLS on the PAC port, if it is to speak TLS.
///
/// # Errors
/// When the certificate or its key cannot be used.
pub fn pac_tls(settings: &GatewaySettings) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    let Some(PacTls { certificate, key }) = &settings.tls.pac else { return Ok(None) };
    let certificate = ServerCertificate::load(certificate, key)?;
    let tls = certs::server_config_without_device_authentication(
        &certificate,
        certs::TlsVersions::Tls12And13,
        &[b"http/1.1"],
    )?;
    Ok(Some(tls))
}

/// Which addresses may be dialled by a gateway with these listeners.
///
/// # Errors
/// When the machine's own addresses cannot be read.
pub fn screen(settings: &GatewaySettings, listeners: &[SocketAddr]) -> anyhow::Result<Screen> {
    let rules = ScreenRules {
        internal: settings.destinations.internal.clone(),
        metadata_override: settings.destinations.metadata_override.clone(),
        listeners: listeners.to_vec(),
    };
    Screen::new(rules).context("the addresses of this machine cannot be read")
}

/// Where the highest CRL numbers seen are kept.
#[must_use]
pub fn crl_marks_path(state: &Path) -> PathBuf {
    state.join("crl-numbers")
}

fn crl_marks(state: &Path) -> anyhow::Result<HighWater> {
    let path = crl_marks_path(state);
    match std::fs::read_to_string(&path) {
        Ok(text) => HighWater::parse(&text).with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HighWater::default()),
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

fn recorder(settings: &GatewaySettings, scrape: &prometheus::Registry) -> anyhow::Result<Recorder> {
    let sink = match &settings.audit.sink {
        AuditSink::Stdout => Sink::Stdout,
        AuditSink::File(path) => Sink::File(path.clone()),
    };
    Recorder::open(RecorderOptions::new(name(settings), sink), scrape).context("audit.file")
}

/// How many threads serve sessions.
fn workers(settings: &GatewaySettings) -> usize {
    match settings.gateway.workers as usize {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

/// How many device connections fit: each may need a second descriptor for its destination.
fn connections(settings: &GatewaySettings) -> usize {
    let wanted = u64::from(settings.limits.connections);
    let descriptors = raise_descriptors();
    let fit = descriptors.saturating_sub(OWN_DESCRIPTORS) / 2;
    if fit < wanted {
        tracing::warn!(
            wanted,
            fit,
            descriptors,
            "limits.connections is more than the open-files limit carries"
        );
    }
    usize::try_from(wanted.min(fit)).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS)
}

/// Raises the soft limit on open files to the hard one, and returns what is in force.
fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}
