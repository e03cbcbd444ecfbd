//! The settings of a control plane.
//!
//! As a gateway's: a section a file, each key with its default, every problem at once. What only makes sense together is
//! compared here: listeners with the authorities that they need, and the store with how its gateways come to it.

use std::path::{Path, PathBuf};

use super::reference::Sections;
use super::{AuditSink, DefaultValue, Program, SettingDoc, SignalSettings, audit, nats, setting, signals};
use crate::problems::Problems;
use crate::reading::{self, Field, Source, Table, Walk};

mod api;
mod identity;
mod keys;
mod listen;
mod oidc;
mod policy;
mod store;
mod trust;

pub use api::ApiSettings;
pub use identity::ControlIdentity;
pub(super) use keys::key_file;
pub use keys::{ControlKeys, KeyFile};
pub use listen::ControlListen;
pub use oidc::OidcSettings;
pub use policy::ControlPolicy;
pub use store::Store;
pub use trust::ControlTrust;

/// Everything a control plane is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// Who the control plane is, where it keeps its state, how it logs.
    pub control: ControlIdentity,
    /// Where it listens.
    pub listen: ControlListen,
    /// What it proves itself with.
    pub tls: ControlTls,
    /// Whom it believes.
    pub trust: ControlTrust,
    /// Where the log of policy is.
    pub store: Store,
    /// What it signs with, and whose signatures count.
    pub keys: ControlKeys,
    /// What it admits.
    pub policy: ControlPolicy,
    /// Who may use the API, and how much.
    pub api: ApiSettings,
    /// The identity provider whose tokens the API takes, if it takes any.
    pub oidc: Option<OidcSettings>,
    /// Whose security events are taken.
    pub signals: Vec<SignalSettings>,
    /// Where events go.
    pub audit: AuditSink,
}

/// What a control plane proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTls {
    /// PEM file of the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

const TLS_DOCS: &[SettingDoc] = &[
    setting(
        "tls",
        "certificate",
        DefaultValue::Required,
        "PEM file of the control plane's certificate and its chain.",
    ),
    setting("tls", "key", DefaultValue::Required, "PEM file of its private key."),
];

const AUDIT_DOCS: &[SettingDoc] = &[setting(
    "audit",
    "file",
    DefaultValue::Toml(r#""events.jsonl""#),
    "File of events, one a line; `-` is standard output. What changes the policy stands in the log besides.",
)];

pub(super) fn docs() -> Vec<SettingDoc> {
    [
        identity::DOCS,
        listen::DOCS,
        TLS_DOCS,
        trust::DOCS,
        store::DOCS,
        nats::CONTROL_DOCS,
        keys::DOCS,
        policy::DOCS,
        api::DOCS,
        oidc::DOCS,
        signals::DOCS,
        AUDIT_DOCS,
    ]
    .concat()
}

impl ControlSettings {
    /// Reads a settings file. Relative paths in it start from its directory.
    ///
    /// # Errors
    /// Every problem of the file at once.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        let source = source.clone().with_format(reading::Format::Toml);
        let walk = Walk::new(&source);
        let root = reading::tree(&source, &walk);
        let settings =
            root.as_ref().and_then(|root| Self::walk(&Field::root(&walk, root), &source.directory()));
        walk.finish(settings)
    }

    fn walk(root: &Field<'_>, directory: &Path) -> Option<Self> {
        let mut sections = Sections::of(root, Program::Control)?;
        let control = sections.section("control").and_then(|section| identity::read(section, directory));
        let listen = sections.section("listen").and_then(listen::read);
        let tls = sections.section("tls").and_then(|section| tls(section, directory));
        let trust = sections.section("trust").and_then(|section| trust::read(section, directory));
        let named = sections.section("store").and_then(store::read);
        let nats = sections.section("nats").and_then(|section| nats::read_of_control(section, directory));
        let store = named.and_then(|named| named.with(nats, &sections));
        let keys = sections.section("keys").and_then(|section| keys::read(section, directory));
        let policy = sections.section("policy").and_then(|section| policy::read(section, directory));
        let api = sections.section("api").and_then(|section| api::read(section, directory));
        let oidc = sections.optional("oidc", |section| oidc::read(section, directory));
        let signals = sections.repeated("signals", |section| signals::read(section, directory));
        let audit = sections.section("audit").and_then(|section| audit_sink(section, directory));
        let listen = listen.zip(store.as_ref()).and_then(|(listen, store)| listen.with(store, &sections));
        if let (Some(listen), Some(trust)) = (&listen, &trust) {
            trust.covers(listen, &sections);
        }
        if signals.as_deref().is_some_and(share_a_name) {
            sections.refuse::<()>("signals", "two transmitters have one name, or one issuer", None);
        }
        sections.finish();
        Some(Self {
            control: control?,
            listen: listen?,
            tls: tls?,
            trust: trust?,
            store: store?,
            keys: keys?,
            policy: policy?,
            api: api?,
            oidc: oidc?,
            signals: signals?,
            audit: audit?,
        })
    }
}

fn tls(mut table: Table<'_>, directory: &Path) -> Option<ControlTls> {
    let certificate = table.required("certificate").and_then(|field| field.path(directory));
    let key = table.required("key").and_then(|field| field.path(directory));
    table.finish();
    Some(ControlTls { certificate: certificate?, key: key? })
}

fn audit_sink(mut table: Table<'_>, directory: &Path) -> Option<AuditSink> {
    let sink = audit::sink(&mut table, directory);
    table.finish();
    sink
}

fn share_a_name(transmitters: &[SignalSettings]) -> bool {
    transmitters.iter().enumerate().any(|(at, one)| {
        let mut others = transmitters.iter().skip(at + 1);
        others.any(|other| one.name == other.name || one.issuer == other.issuer)
    })
}

#[cfg(test)]
mod tests;
