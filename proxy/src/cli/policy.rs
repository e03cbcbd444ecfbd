//! What does a policy directory say, with no gateway running?
//!
//! Reads it as a gateway would: what the key ring does not vouch for is not there. Unlike a gateway it has no memory, so it
//! cannot know that a manifest was superseded by one that has since been removed.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use config::GatewaySettings;
use config::settings::PolicySource;
use policy_sync::{
    Approvals, Envelope, KeyRing, LiveManifest, PayloadType, PolicyBounds, Revocation, SignedFault,
    SignedManifest, Snapshot, Statement, verify_manifest, verify_statement,
};

use super::exit::Failure;
use super::settings;

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// An instant as people read it, in UTC.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |instant| instant.to_string())
}

/// Reads a key ring.
pub(crate) fn ring(path: &Path) -> Result<KeyRing, Failure> {
    let source = settings::open(path)?;
    Ok(KeyRing::parse(source.name(), &String::from_utf8_lossy(source.bytes()))?)
}

/// The policy directory of a gateway, if it has one.
pub(crate) fn directory(settings: &GatewaySettings) -> Option<&Path> {
    match &settings.policy.source {
        PolicySource::Dir(directory) => Some(directory),
        PolicySource::Control(_) | PolicySource::Nats(_) => None,
    }
}

/// What the settings of a gateway impose on every manifest; the defaults when there are none.
pub(crate) fn bounds(settings: Option<&GatewaySettings>) -> PolicyBounds {
    settings.map_or_else(PolicyBounds::default, proxy::assemble::policy_bounds)
}

/// A policy directory, read once.
#[derive(Debug)]
pub(crate) struct Offline {
    pub(crate) snapshot: Snapshot,
    /// Files that do not count, and why not.
    pub(crate) ignored: Vec<(PathBuf, String)>,
}

/// Reads a policy directory.
pub(crate) fn read(
    directory: &Path,
    ring: &KeyRing,
    approvals: &Approvals,
    bounds: PolicyBounds,
) -> Result<Offline, Failure> {
    let mut found = Found {
        ring,
        approvals,
        max_ttl: bounds.max_ttl,
        manifests: vec![],
        statements: vec![],
        ignored: vec![],
    };
    for folder in ["manifests", "revocations"] {
        for path in envelopes(&directory.join(folder))? {
            found.add(path);
        }
    }
    let Found { manifests, statements, ignored, .. } = found;
    let snapshot = Snapshot::build(1, bounds, manifests, in_force(statements));
    Ok(Offline { snapshot, ignored })
}

struct Found<'a> {
    ring: &'a KeyRing,
    approvals: &'a Approvals,
    max_ttl: std::time::Duration,
    manifests: Vec<LiveManifest>,
    statements: Vec<Statement>,
    ignored: Vec<(PathBuf, String)>,
}

impl Found<'_> {
    fn add(&mut self, path: PathBuf) {
        let read = std::fs::read(&path).map_err(|fault| fault.to_string());
        let added = read.and_then(|bytes| self.add_envelope(&bytes).map_err(|fault| fault.to_string()));
        if let Err(why) = added {
            self.ignored.push((path, why));
        }
    }

    fn add_envelope(&mut self, bytes: &[u8]) -> Result<(), SignedFault> {
        let envelope = Envelope::read(bytes)?;
        match envelope.payload_type() {
            PayloadType::Manifest => {
                let signed = verify_manifest(&envelope, self.ring, self.approvals)?;
                let SignedManifest { manifest, issued_at, digest, signers } = signed;
                self.manifests.push(LiveManifest::new(manifest, issued_at, digest, signers, self.max_ttl));
            }
            // Anything else is refused there for its type.
            _ => self.statements.push(verify_statement(&envelope, self.ring)?),
        }
        Ok(())
    }
}

fn in_force(statements: Vec<Statement>) -> Vec<Revocation> {
    let lifted: Vec<_> = statements
        .iter()
        .filter_map(|statement| match statement {
            Statement::Lift(lift) if lift.target.can_be_lifted() => Some(lift.lifts),
            _ => None,
        })
        .collect();
    let revocations = statements.into_iter().filter_map(|statement| match statement {
        Statement::Revoke(revocation) => Some(revocation),
        Statement::Lift(_) => None,
    });
    revocations.filter(|revocation| !lifted.contains(&revocation.id)).collect()
}

fn envelopes(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|fault| settings::unreadable(folder, &fault))?,
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    Ok(paths)
}
