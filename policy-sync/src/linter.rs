//! The linter: what a manifest allows although its author may not mean it, and what a new version changes.
//!
//! A manifest that is wrong is refused when it is read; what is found here is valid, and deserves a look. Whether an
//! entry can ever decide, and what becomes reachable, is asked of the matching code of the data path, at
//! representative destinations. Findings are advice: nothing in the gateway depends on them.

mod difference;
mod probe;
mod shared;

use std::fmt;
use std::time::Duration;

use config::{AllowEntry, HostPattern, Limit, ManifestDraft, Match, Mode, Rules, TlsExpectation};

use crate::snapshot::PolicyBounds;

pub use difference::{Difference, Direction, diff};

/// A life beyond this is remarked on.
const LONG_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A range of more ports than this is remarked on.
const MANY_PORTS: u32 = 100;

/// Something that deserves a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much of a look.
    pub weight: Weight,
    /// What kind of thing it is: stable, for scripts.
    pub code: Code,
    /// The field, such as `capabilities.network.allow[2]`.
    pub path: String,
    /// What it means, in one clause.
    pub message: String,
}

/// How much attention a finding deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know.
    Note,
    /// Allows more than most manifests need.
    Warning,
    /// Does not do what it says.
    Mistake,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $weight:ident;)*) => {
        /// The kinds of findings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind as one `snake_case` word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn weight(self) -> Weight {
                match self { $(Self::$name => Weight::$weight,)* }
            }
        }
    };
}

codes! {
    /// An entry ties with another: what both match is denied.
    Tie = "tie", Mistake;
    /// An entry that never decides: other patterns are more specific wherever it matches.
    Shadowed = "shadowed", Mistake;
    /// The gateway forbids what the entry allows.
    Forbidden = "forbidden_by_gateway", Mistake;
    /// No entry at all.
    NothingAllowed = "nothing_allowed", Warning;
    /// A wildcard over a whole registered domain.
    BroadWildcard = "broad_wildcard", Warning;
    /// A large network.
    BroadNetwork = "broad_network", Warning;
    /// Many ports.
    BroadPorts = "broad_ports", Warning;
    /// A service at which anybody can have an account, a bucket or a name.
    SharedService = "shared_service", Warning;
    /// A public resolver: names that are asked for carry data out.
    PublicResolver = "public_resolver", Warning;
    /// Uploads without limit.
    UnlimitedUpload = "unlimited_upload", Warning;
    /// The name inside TLS is not compared although TLS is expected.
    UncheckedTls = "unchecked_tls", Warning;
    /// Destinations off the list are let through.
    ReportMode = "report_mode", Warning;
    /// A long life, or longer than the gateway grants.
    LongLife = "long_life", Warning;
    /// Addresses instead of names.
    Address = "address", Note;
    /// Unencrypted HTTP.
    Cleartext = "cleartext", Note;
    /// Parts that the gateway carries and does not enforce.
    NotEnforcedHere = "not_enforced_here", Note;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What deserves a look in a manifest, under these bounds; in the order of the manifest's fields.
#[must_use]
pub fn lint(manifest: &ManifestDraft, bounds: &PolicyBounds) -> Vec<Finding> {
    let mut findings = Findings::default();
    let rules = Rules::compile(&manifest.network);
    for (index, entry) in manifest.network.allow.iter().enumerate() {
        let path = format!("capabilities.network.allow[{index}]");
        findings.effect(&path, index, entry, &rules, bounds);
        findings.breadth(&path, entry);
        findings.purpose(&path, entry);
    }
    findings.whole(manifest, bounds);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, code: Code, path: &str, message: impl Into<String>) {
        self.0.push(Finding { weight: code.weight(), code, path: path.to_owned(), message: message.into() });
    }

    /// Whether the entry does what it says.
    fn effect(&mut self, path: &str, index: usize, entry: &AllowEntry, rules: &Rules, bounds: &PolicyBounds) {
        let probes = probe::of_pattern(&entry.pattern);
        let decides =
            |matched: &Match<'_>| matches!(matched, Match::Allow(rule) if rule.position() as usize == index);
        let matches: Vec<_> = probes.iter().map(|probe| rules.matching(probe)).collect();
        if !matches.iter().any(decides) {
            match matches.iter().find(|matched| !decides(matched)) {
                Some(Match::Tie) => {
                    self.add(Code::Tie, path, "another entry is just as specific: a tie is a denial");
                }
                Some(Match::Deny(pattern)) => {
                    self.add(
                        Code::Shadowed,
                        path,
                        format!("`{pattern}` in deny is more specific wherever it matches"),
                    );
                }
                _ => self.add(Code::Shadowed, path, "other entries are more specific wherever it matches"),
            }
        }
        if let Some(pattern) = probes.first().and_then(|probe| bounds.deny.matches(probe)) {
            self.add(Code::Forbidden, path, format!("the gateway forbids `{pattern}` to everybody"));
        }
    }

    /// Whether the entry covers more than most need.
    fn breadth(&mut self, path: &str, entry: &AllowEntry) {
        match &entry.pattern.host {
            HostPattern::Suffix(name) if shared::is_registered_domain(name) => {
                self.add(
                    Code::BroadWildcard,
                    path,
                    format!("covers everything below {name}, present and future"),
                );
            }
            HostPattern::Network(network) => {
                if u32::from(network.max_prefix_len() - network.prefix_len()) > 8 {
                    self.add(Code::BroadNetwork, path, "covers more than 256 addresses");
                }
                self.add(Code::Address, path, "an address says nothing about who answers there");
            }
            HostPattern::Exact(_) | HostPattern::Suffix(_) | HostPattern::Any => {}
        }
        if entry.pattern.ports.width() > MANY_PORTS {
            self.add(Code::BroadPorts, path, format!("covers {} ports", entry.pattern.ports.width()));
        }
    }

    /// Whether the entry can be used for something else than it is meant for.
    fn purpose(&mut self, path: &str, entry: &AllowEntry) {
        if let HostPattern::Exact(name) | HostPattern::Suffix(name) = &entry.pattern.host {
            if shared::is_resolver(name) {
                self.add(
                    Code::PublicResolver,
                    path,
                    "a public resolver: the names asked for can carry data out",
                );
            } else if shared::is_shared_service(name) {
                let message = "anybody can have an account there: data can leave through somebody else's";
                self.add(Code::SharedService, path, message);
            }
        }
        if [entry.upload_bytes, entry.upload_bytes_per_session].contains(&Some(Limit::Unlimited)) {
            self.add(Code::UnlimitedUpload, path, "uploads to it have no limit of their own");
        }
        let https = entry.pattern.ports.contains(443);
        if https && entry.expected_tls(443) != TlsExpectation::Sni {
            self.add(Code::UncheckedTls, path, "the first bytes on 443 need not name the destination");
        }
        if entry.pattern.ports.contains(80) {
            self.add(Code::Cleartext, path, "port 80 is readable and changeable on the way");
        }
    }

    /// Whether the manifest as a whole is what it seems.
    fn whole(&mut self, manifest: &ManifestDraft, bounds: &PolicyBounds) {
        let network = &manifest.network;
        if network.allow.is_empty() {
            self.add(
                Code::NothingAllowed,
                "capabilities.network.allow",
                "nothing is listed, so nothing is reached",
            );
        }
        let limits = [
            ("upload_bytes_per_session", network.upload_bytes_per_session),
            ("upload_bytes", network.upload_bytes),
        ];
        for (field, limit) in limits {
            if limit == Some(Limit::Unlimited) {
                let path = format!("capabilities.network.{field}");
                self.add(Code::UnlimitedUpload, &path, "uploads without limit can carry everything out");
            }
        }
        if network.mode == Mode::Report {
            let message = if bounds.allow_report_mode {
                "destinations off the list are let through"
            } else {
                "this gateway does not permit it and enforces the list all the same"
            };
            self.add(Code::ReportMode, "capabilities.network.mode", message);
        }
        for (present, field) in
            [(manifest.filesystem.is_some(), "filesystem"), (manifest.secrets.is_some(), "secrets")]
        {
            if present {
                let path = format!("capabilities.{field}");
                self.add(
                    Code::NotEnforcedHere,
                    &path,
                    "for the agent's runtime to enforce; the gateway carries it only",
                );
            }
        }
        if manifest.ttl > bounds.max_ttl {
            let message = format!("the gateway ends its life after {} seconds", bounds.max_ttl.as_secs());
            self.add(Code::LongLife, "ttl_seconds", message);
        } else if manifest.ttl > LONG_LIFE {
            self.add(Code::LongLife, "ttl_seconds", "lives for more than a day");
        }
    }
}

#[cfg(test)]
mod tests;
