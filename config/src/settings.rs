//! What each program is told: one TOML file, every key documented and with its default here.
//!
//! Each section is a file of its own, which lists its keys ([`SettingDoc`]) and reads them. A key that is absent is read
//! from the text of its default, by the same code, so the documented default is the one in force. Unknown keys are
//! refused. A setting that cannot be read never falls back to its default.

use std::path::Path;

use crate::problems::Problems;
use crate::reading::{self, Field, Source, Walk};

mod reference;

mod audit;
mod budget;
mod control;
mod control_link;
mod deadlines;
mod destinations;
mod dns;
mod gateway;
mod jwks;
mod limits;
mod listen;
mod nats;
mod policy;
mod signals;
mod tls;
mod trust;

pub use audit::{AuditFailure, AuditSettings, AuditSink};
pub use budget::BudgetSettings;
pub use control::{
    ApiSettings, ControlIdentity, ControlKeys, ControlListen, ControlPolicy, ControlSettings, ControlTls,
    ControlTrust, KeyFile, OidcSettings, Store,
};
pub use control_link::{ControlEndpoint, ControlLink};
pub use deadlines::Deadlines;
pub use destinations::DestinationSettings;
pub use dns::DnsSettings;
pub use gateway::{GatewayIdentity, LogFormat};
pub use limits::Limits;
pub use listen::ListenSettings;
pub use nats::{NatsLink, NatsScheme, NatsServers, NatsSettings, NatsTls};
pub use policy::{Approval, ApprovalRole, PolicySettings, PolicySource};
pub use reference::{DefaultValue, Program, REPEATED, SettingDoc, reference, reference_toml};
pub use signals::{SignalEvent, SignalSettings, SignalTarget, SubjectFormat, SubjectMapping};
pub use tls::{PacTls, TlsSettings, TlsVersions};
pub use trust::{IdentityField, TrustSettings};

use policy::NamedSource;
use reference::{Sections, setting};

/// Everything a gateway is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Who the gateway is, and how it logs.
    pub gateway: GatewayIdentity,
    /// Where it listens.
    pub listen: ListenSettings,
    /// What it proves itself with.
    pub tls: TlsSettings,
    /// Whom it believes.
    pub trust: TrustSettings,
    /// Where its policy comes from, and how old it may become.
    pub policy: PolicySettings,
    /// What upload budgets are counted with.
    pub budget: BudgetSettings,
    /// What nobody may reach, and which internal networks may be reached at all.
    pub destinations: DestinationSettings,
    /// How much at once.
    pub limits: Limits,
    /// How long each stage may take.
    pub deadlines: Deadlines,
    /// How names are looked up.
    pub dns: DnsSettings,
    /// Where events go.
    pub audit: AuditSettings,
}

impl GatewaySettings {
    /// Reads a settings file. Relative paths in it start from its directory.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        let source = source.clone().with_format(reading::Format::Toml);
        let walk = Walk::new(&source);
        let root = reading::tree(&source, &walk);
        let settings = root.as_ref().and_then(|root| Self::walk(Field::root(&walk, root), &source));
        walk.finish(settings)
    }

    fn walk(root: Field<'_>, source: &Source) -> Option<Self> {
        let directory = source.directory();
        let mut sections = Sections::of(&root, Program::Gateway)?;
        let gateway = sections.section("gateway").and_then(|section| gateway::read(section, &directory));
        let listen = sections.section("listen").and_then(listen::read);
        let tls = sections.section("tls").and_then(|section| tls::read(section, &directory));
        let trust = sections.section("trust").and_then(|section| trust::read(section, &directory));
        let policy = sections.section("policy").and_then(|section| policy::read(section, &directory));
        let named = policy.as_ref().map(|policy| policy.0.clone());
        let source = policy_source(&mut sections, named, tls.as_ref(), &directory);
        let fleet = policy.as_ref().is_some_and(|policy| policy.0.is_shared());
        let budget = sections.section("budget").and_then(|section| budget::read(section, fleet));
        let destinations = sections.section("destinations").and_then(destinations::read);
        let limits = sections.section("limits").and_then(limits::read);
        let deadlines = sections.section("deadlines").and_then(deadlines::read);
        let dns = sections.section("dns").and_then(dns::read);
        let audit = sections.section("audit").and_then(|section| audit::read(section, &directory));
        sections.finish();
        Some(Self {
            gateway: gateway?,
            listen: listen?,
            tls: tls?,
            trust: trust?,
            policy: policy?.1.from(source?),
            budget: budget?,
            destinations: destinations?,
            limits: limits?,
            deadlines: deadlines?,
            dns: dns?,
            audit: audit?,
        })
    }
}

/// The source that `[policy]` names, with the section that says how to reach it. One that nothing uses is a mistake.
fn policy_source(
    sections: &mut Sections<'_>,
    named: Option<NamedSource>,
    tls: Option<&TlsSettings>,
    directory: &Path,
) -> Option<PolicySource> {
    let control = sections.optional("control", |section| control_link::read(section, directory));
    let nats = sections.optional("nats", |section| nats::read_of_gateway(section, directory));
    let unused = |name: &str, wanted: &str| {
        let message = format!("the section has no effect: `policy.source` is not {wanted}");
        sections.refuse::<()>(name, &message, Some("remove the section"));
    };
    let named = named?;
    if matches!(control, Some(Some(_))) && !matches!(named, NamedSource::Control(_)) {
        unused("control", "control:URL");
    }
    if matches!(nats, Some(Some(_))) && !matches!(named, NamedSource::Nats(_)) {
        unused("nats", "nats:URLS");
    }
    match named {
        NamedSource::Dir(path) => Some(PolicySource::Dir(path)),
        NamedSource::Control(endpoint) => match control? {
            Some(files) => Some(PolicySource::Control(files.reach(endpoint, tls?))),
            None => sections.refuse("control", "the section is missing: the source is a control plane", None),
        },
        NamedSource::Nats(servers) => match nats? {
            Some((files, report)) => {
                let nats = files.reach(servers).or_else(|why| sections.refuse("nats", why, None).ok_or(()));
                Some(PolicySource::Nats(NatsLink { nats: nats.ok()?, report }))
            }
            None => sections.refuse("nats", "the section is missing: reports need `report_key`", None),
        },
    }
}

#[cfg(test)]
mod tests;
