//! The capability manifest: what one agent, for one user, on one device, may do.
//!
//! A [`Manifest`] that exists has been read whole and checked. Only its `network` part is enforced by the gateway;
//! `filesystem` and `secrets` are carried for the agent's runtime. An empty manifest allows nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identifiers::{AgentName, DeviceId, ManifestId, UserName};
use crate::pattern::Pattern;
use crate::size::Limit;

mod document;
mod read;

pub use document::manifest_schema;

/// A manifest with its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Which manifest this is; the handle of revocation.
    pub id: ManifestId,
    /// The program it is written for.
    pub agent: AgentName,
    /// The person on whose behalf the agent works.
    pub user: UserName,
    /// The device on which it runs.
    pub device: DeviceId,
    /// What the agent is there for, in the words of whoever wrote the manifest.
    pub role: Option<String>,
    /// Where its data has to stay, such as `eu`; carried into events.
    pub residency: Option<String>,
    /// Which destinations, and how much to them: what the gateway enforces.
    pub network: Network,
    /// Which files: for the runtime to enforce.
    pub filesystem: Option<Filesystem>,
    /// Which secrets, by store: for the runtime to enforce.
    pub secrets: Option<BTreeMap<String, String>>,
    /// How long it lives from the moment it was signed; at least one second.
    pub ttl: Duration,
}

/// A manifest as its author wrote it: the identifier may still be missing, and is then given by signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDraft {
    /// Which manifest this is, if the author chose.
    pub id: Option<ManifestId>,
    /// The program it is written for.
    pub agent: AgentName,
    /// The person on whose behalf the agent works.
    pub user: UserName,
    /// The device on which it runs.
    pub device: DeviceId,
    /// What the agent is there for.
    pub role: Option<String>,
    /// Where its data has to stay.
    pub residency: Option<String>,
    /// Which destinations, and how much to them.
    pub network: Network,
    /// Which files.
    pub filesystem: Option<Filesystem>,
    /// Which secrets, by store.
    pub secrets: Option<BTreeMap<String, String>>,
    /// How long it lives from the moment it was signed; at least one second.
    pub ttl: Duration,
}

impl ManifestDraft {
    /// The manifest that this draft becomes under an identifier; its own one gives way.
    #[must_use]
    pub fn identified(self, id: ManifestId) -> Manifest {
        let Self { id: _, agent, user, device, role, residency, network, filesystem, secrets, ttl } = self;
        Manifest { id, agent, user, device, role, residency, network, filesystem, secrets, ttl }
    }
}

impl From<Manifest> for ManifestDraft {
    fn from(manifest: Manifest) -> Self {
        let Manifest { id, agent, user, device, role, residency, network, filesystem, secrets, ttl } =
            manifest;
        Self { id: Some(id), agent, user, device, role, residency, network, filesystem, secrets, ttl }
    }
}

/// What is signed: a manifest, with or without its identifier, and the moment of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedManifest {
    /// The manifest.
    pub draft: ManifestDraft,
    /// When it was signed, in seconds since 1970 (UTC).
    pub issued_at: i64,
}

/// The `network` part of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// What may be reached.
    pub allow: Vec<AllowEntry>,
    /// What may not, where it is more specific than what may.
    pub deny: Vec<Pattern>,
    /// For each session, unless its rule says otherwise; absent means the gateway's default.
    pub upload_bytes_per_session: Option<Limit>,
    /// For all sessions of the manifest together; absent means the gateway's default.
    pub upload_bytes: Option<Limit>,
    /// How many sessions may be open at once; absent means the gateway's default.
    pub sessions: Option<u32>,
    /// Whether destinations off the list are refused, or let through and reported.
    pub mode: Mode,
}

/// One rule of `allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowEntry {
    /// The destinations.
    pub pattern: Pattern,
    /// For each session to them; absent means that only the manifest's limits count.
    pub upload_bytes_per_session: Option<Limit>,
    /// For all sessions to them together; absent means that only the manifest's limits count.
    pub upload_bytes: Option<Limit>,
    /// What the first bytes must be, as written; [`AllowEntry::expected_tls`] fills in the default.
    pub tls: Option<TlsExpectation>,
}

impl AllowEntry {
    /// What the first bytes to this port must be: as written, else SNI on 443 and TLS-if-any elsewhere.
    #[must_use]
    pub fn expected_tls(&self, port: u16) -> TlsExpectation {
        self.tls.unwrap_or_else(|| TlsExpectation::default_for(port))
    }
}

/// What the first bytes of a tunnel must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsExpectation {
    /// A ClientHello whose server name is the destination.
    Sni,
    /// Anything; but if it is TLS, its server name is the destination.
    Optional,
    /// Anything at all.
    None,
}

impl TlsExpectation {
    /// What holds for a port where nothing is written: SNI on 443, TLS-if-any elsewhere.
    #[must_use]
    pub const fn default_for(port: u16) -> Self {
        if port == 443 { Self::Sni } else { Self::Optional }
    }
}

/// What happens to destinations off the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// They are denied.
    #[default]
    Enforce,
    /// They are let through and reported, to learn a manifest before enforcing it. A gateway can forbid this.
    Report,
}

/// The `filesystem` part of a manifest: for the runtime to enforce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filesystem {
    /// Paths that may be read.
    pub read: Vec<String>,
    /// Paths that may be written.
    pub write: Vec<String>,
}

#[cfg(test)]
mod tests;
