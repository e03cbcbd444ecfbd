//! The settings of a gateway: one TOML file, every key documented and with its default here.
//!
//! Each section is a file of its own, which lists its keys ([`SettingDoc`]) and reads them. A key that is absent is read
//! from the text of its default, by the same code, so the documented default is the one in force. Unknown keys are
//! refused. A setting that cannot be read never falls back to its default.

use std::sync::LazyLock;

use crate::problems::Problems;
use crate::reading::{self, Field, Node, Source, Table, Walk};

mod audit;
mod deadlines;
mod destinations;
mod dns;
mod gateway;
mod limits;
mod listen;
mod policy;
mod tls;
mod trust;

pub use audit::{AuditFailure, AuditSettings, AuditSink};
pub use deadlines::Deadlines;
pub use destinations::DestinationSettings;
pub use dns::DnsSettings;
pub use gateway::{GatewayIdentity, LogFormat};
pub use limits::Limits;
pub use listen::ListenSettings;
pub use policy::{Approval, ApprovalRole, PolicySettings, PolicySource};
pub use tls::{PacTls, TlsSettings, TlsVersions};
pub use trust::{IdentityField, TrustSettings};

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

/// What the manual says of one key. The default in force is read from this very text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingDoc {
    /// The table that the key stands in, such as `limits`.
    pub section: &'static str,
    /// The key, such as `sessions`.
    pub key: &'static str,
    /// What is in force when the key is absent.
    pub default: DefaultValue,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What is in force when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, in TOML.
    Toml(&'static str),
    /// Nothing: the key has to be there.
    Required,
    /// Nothing: what the key would turn on is off. The text says what happens instead.
    Absent(&'static str),
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
        let mut sections = Sections { file: root.table()?.or_from(&DEFAULTS) };
        let gateway = sections.section("gateway").and_then(|section| gateway::read(section, &directory));
        let listen = sections.section("listen").and_then(listen::read);
        let tls = sections.section("tls").and_then(|section| tls::read(section, &directory));
        let trust = sections.section("trust").and_then(|section| trust::read(section, &directory));
        let policy = sections.section("policy").and_then(|section| policy::read(section, &directory));
        let destinations = sections.section("destinations").and_then(destinations::read);
        let limits = sections.section("limits").and_then(limits::read);
        let deadlines = sections.section("deadlines").and_then(deadlines::read);
        let dns = sections.section("dns").and_then(dns::read);
        let audit = sections.section("audit").and_then(|section| audit::read(section, &directory));
        sections.file.finish();
        Some(Self {
            gateway: gateway?,
            listen: listen?,
            tls: tls?,
            trust: trust?,
            policy: policy?,
            destinations: destinations?,
            limits: limits?,
            deadlines: deadlines?,
            dns: dns?,
            audit: audit?,
        })
    }
}

/// Every key of a gateway's settings, by section.
#[must_use]
pub fn reference() -> &'static [SettingDoc] {
    static ALL: LazyLock<Vec<SettingDoc>> = LazyLock::new(|| {
        [
            gateway::DOCS,
            listen::DOCS,
            tls::DOCS,
            trust::DOCS,
            policy::DOCS,
            destinations::DOCS,
            limits::DOCS,
            deadlines::DOCS,
            dns::DOCS,
            audit::DOCS,
        ]
        .concat()
    });
    &ALL
}

/// A complete settings file with every default, and the explanation of each key above it.
#[must_use]
pub fn reference_toml() -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in reference() {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let SettingDoc { key, doc, .. } = setting;
        text.push_str(&match setting.default {
            DefaultValue::Toml(value) => format!("# {doc}\n{key} = {value}\n"),
            DefaultValue::Required => format!("# {doc} Required.\n# {key} =\n"),
            DefaultValue::Absent(instead) => format!("# {doc} Default: {instead}.\n# {key} =\n"),
        });
    }
    text.trim_start().to_owned()
}

/// The defaults as a tree, read once from the reference.
static DEFAULTS: LazyLock<Node> = LazyLock::new(|| {
    let source = Source::new("defaults.toml", reference_toml());
    let walk = Walk::new(&source);
    let tree = reading::tree(&source, &walk);
    walk.finish(tree).expect("the defaults are valid TOML, which a test reads").nowhere()
});

/// The sections of a file, each with its defaults behind it.
struct Sections<'n> {
    file: Table<'n>,
}

impl<'n> Sections<'n> {
    fn section(&mut self, name: &'static str) -> Option<Table<'n>> {
        let defaults = match &DEFAULTS.value {
            reading::Value::Table(sections) => sections.iter().find(|entry| entry.key == name),
            _ => None,
        };
        let section = self.file.optional(name)?.table()?;
        Some(match defaults {
            Some(defaults) => section.or_from(&defaults.node),
            None => section,
        })
    }
}

const fn setting(
    section: &'static str,
    key: &'static str,
    default: DefaultValue,
    doc: &'static str,
) -> SettingDoc {
    SettingDoc { section, key, default, doc }
}

#[cfg(test)]
mod tests;
