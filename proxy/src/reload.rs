//! SIGHUP: the settings are read again, everything they name is read again, and only if all of it is good is any of it used.
//!
//! What cannot change without a restart (listeners, state directory, name, workers, policy source, how budgets are counted) is compared and, if it
//! differs, said loudly and left as it was. A reload that fails changes nothing.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use audit::{Event, EventType};
use config::{GatewaySettings, Source};

use crate::assemble::{device_tls, pac_tls, screen, trust_settings};
use crate::gateway::Gateway;
use crate::pac::Pac;
use crate::policy::PolicyLink;
use crate::resolve::Resolver;
use crate::revoke::{enforce_trust, remember_crl_numbers};

/// Reads the settings at `path` again and puts them in force; says in log and events how it went.
pub fn reload(gateway: &Gateway, policy: &PolicyLink, pac: Option<&Pac>, path: &Path) {
    gateway.recorder.reopen();
    match attempt(gateway, policy, pac, path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "settings reloaded");
            gateway.recorder.record(Event::new(EventType::ReloadApplied));
        }
        Err(fault) => {
            tracing::error!(path = %path.display(), "settings not reloaded, the old ones stay: {fault:#}");
            gateway.recorder.record(Event::new(EventType::ReloadRefused).detail(format_args!("{fault:#}")));
        }
    }
}

fn attempt(gateway: &Gateway, policy: &PolicyLink, pac: Option<&Pac>, path: &Path) -> anyhow::Result<()> {
    let mut settings =
        GatewaySettings::read(&Source::open(path).with_context(|| format!("{}", path.display()))?)?;
    let old = gateway.settings.load_full();
    warn_of_fixed(&old, &settings);
    keep_fixed(&old, &mut settings);
    // Everything that can fail comes first.
    let now = gateway.clock.now();
    let tls = device_tls(&settings, &gateway.verifier, &gateway.clock)?;
    let tls_of_pac = pac_tls(&settings)?;
    let screen = Arc::new(screen(&settings, &gateway.listeners)?);
    let keys = PolicyLink::prepare(&settings)?;
    let resolver = Resolver::new(&settings.dns, settings.deadlines.dns, Arc::clone(&screen))?;
    let update = gateway.verifier.reload(&trust_settings(&settings)?, now)?;
    for refused in &update.refused {
        tracing::error!(%refused, "crl refused");
    }
    remember_crl_numbers(gateway, &update.trust);
    gateway.tls.store(tls);
    gateway.screen.store(screen);
    gateway.resolver.store(Arc::new(resolver));
    if let (Some(pac), Some(proxy)) = (pac, &settings.listen.pac_proxy) {
        pac.replace(proxy, tls_of_pac);
    }
    policy.reload(keys, &settings);
    gateway.settings.store(Arc::new(settings));
    enforce_trust(gateway);
    Ok(())
}

/// What is bound, opened or sized for the life of the process stays what it was.
fn keep_fixed(old: &GatewaySettings, new: &mut GatewaySettings) {
    new.gateway = old.gateway.clone();
    new.policy.source = old.policy.source.clone();
    new.budget = old.budget;
    new.audit.sink = old.audit.sink.clone();
    new.limits.connections = old.limits.connections;
    new.limits.handshakes = old.limits.handshakes;
}

fn warn_of_fixed(old: &GatewaySettings, new: &GatewaySettings) {
    let fixed = [
        ("gateway", old.gateway != new.gateway),
        ("listen.device", old.listen.device != new.listen.device),
        ("listen.admin", old.listen.admin != new.listen.admin),
        ("listen.pac", old.listen.pac != new.listen.pac),
        ("policy.source", old.policy.source != new.policy.source),
        ("budget.fleet", old.budget != new.budget),
        ("limits.connections", old.limits.connections != new.limits.connections),
        ("limits.handshakes", old.limits.handshakes != new.limits.handshakes),
        ("audit.file", old.audit.sink != new.audit.sink),
    ];
    for (setting, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(setting, "changed in the file; takes effect at the next start");
    }
}
