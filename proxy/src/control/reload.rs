//! SIGHUP: the settings are read again, everything they name is read again, and only if all of it is good is any of it used.
//!
//! What cannot change without a restart (listeners, log, keys that sign, limits of the API) is compared and, if it differs,
//! said loudly and left as it was. A reload that fails changes nothing.

use std::sync::Arc;

use anyhow::Context as _;
use audit::{Event, EventType};
use certs::GatewayVerifier;
use config::Source;
use config::settings::ControlSettings;
use policy_sync::Approvals;

use super::assemble::{Control, api_tls, bounds};
use super::door::door_tls;
use super::files::Files;
use super::store::entrance_tls;

/// Reads the settings again and puts them in force; says in log and events how it went.
pub(super) fn reload(control: &Control) {
    control.recorder.reopen();
    match attempt(control) {
        Ok(()) => {
            tracing::info!(path = %control.path.display(), "settings reloaded");
            control.recorder.record(Event::new(EventType::ReloadApplied));
        }
        Err(fault) => {
            tracing::error!(path = %control.path.display(), "settings not reloaded, the old ones stay: {fault:#}");
            control.recorder.record(Event::new(EventType::ReloadRefused).detail(format_args!("{fault:#}")));
        }
    }
}

fn attempt(control: &Control) -> anyhow::Result<()> {
    let source = Source::open(&control.path).with_context(|| control.path.display().to_string())?;
    let mut settings = ControlSettings::read(&source)?;
    let old = control.settings.load_full();
    warn_of_fixed(&old, &settings);
    keep_fixed(&old, &mut settings);
    // Everything that can fail comes first, and changes nothing; the trust of devices, which is judged and put in force at
    // once, is the last of it.
    let Files { ring, tokens, oidc, certificate, crl_issuers, gateways, devices } = Files::read(&settings)?;
    let api = api_tls(&certificate).context("tls.certificate")?;
    let entrance = match (&control.entrance, &gateways) {
        (Some(entrance), Some(trust)) => {
            let next = GatewayVerifier::new(trust).context("trust.gateway_ca, trust.crls")?;
            Some((entrance, next, entrance_tls(&certificate, &entrance.verifier)?))
        }
        _ => None,
    };
    let door = match (&control.door, &devices) {
        (Some(door), Some(trust)) => Some((door, trust, door_tls(&certificate, &door.verifier)?)),
        _ => None,
    };
    let signals = control.signals.prepare(&settings.signals).context("signals")?;
    if let Some((door, trust, tls)) = door {
        door.reload(trust, tls).context("trust.device_ca, trust.crls")?;
    }
    if let Some((entrance, next, tls)) = entrance {
        entrance.verifier.adopt(&next);
        entrance.tls.store(tls);
    }
    control.signals.put(signals);
    control.api_tls.store(api);
    control.callers.reload(tokens, oidc);
    control.ring.store(Arc::new(ring.clone()));
    let approvals = Approvals::new(&settings.policy.approval);
    control.plane.reload(ring, approvals, crl_issuers, bounds(&settings));
    if let Some(checkout) = &control.checkout {
        // What no key vouched for before may be good now.
        checkout.reconsider();
    }
    control.settings.store(Arc::new(settings));
    Ok(())
}

/// What is bound, opened or sized for the life of the process stays what it was.
fn keep_fixed(old: &ControlSettings, new: &mut ControlSettings) {
    new.control = old.control.clone();
    new.listen = old.listen.clone();
    new.store = old.store.clone();
    new.keys = config::settings::ControlKeys { ring: new.keys.ring.clone(), ..old.keys.clone() };
    new.policy.directory = old.policy.directory.clone();
    new.policy.upload_bytes = old.policy.upload_bytes;
    new.api = config::settings::ApiSettings { tokens: new.api.tokens.clone(), ..old.api.clone() };
    new.audit = old.audit.clone();
}

fn warn_of_fixed(old: &ControlSettings, new: &ControlSettings) {
    let mut kept = new.clone();
    keep_fixed(old, &mut kept);
    let fixed = [
        ("control", kept.control != new.control),
        ("listen", kept.listen != new.listen),
        ("store", kept.store != new.store),
        ("keys", kept.keys != new.keys),
        ("policy", kept.policy != new.policy),
        ("api", kept.api != new.api),
        ("audit.file", kept.audit != new.audit),
    ];
    for (setting, _) in fixed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(setting, "changed in the file; takes effect at the next start");
    }
}
