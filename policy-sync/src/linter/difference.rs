//! What a new version of a manifest changes: not in its text, but in what it allows.

use std::collections::BTreeSet;
use std::fmt::Display;

use config::{AllowEntry, Destination, Limit, ManifestDraft, Match, Mode, Pattern, Rules, TlsExpectation};

use super::probe;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// More is allowed than before.
    Widened,
    /// Less is allowed than before: live sessions may be cut.
    Narrowed,
    /// Neither, or it depends on the gateway's settings.
    Changed,
}

impl Direction {
    /// The direction as one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Changed => "changed",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which way.
    pub direction: Direction,
    /// The pattern or the field.
    pub subject: String,
    /// What held before.
    pub old: String,
    /// What holds now.
    pub new: String,
}

/// What changes from `old` to `new`: destinations first, then limits, then everything else.
#[must_use]
pub fn diff(old: &ManifestDraft, new: &ManifestDraft) -> Vec<Difference> {
    let mut differences = destinations(old, new);
    let (before, after) = (&old.network, &new.network);
    let mut add = |direction: Option<Direction>, subject: &str, old: String, new: String| {
        differences.extend(direction.map(|direction| Difference {
            direction,
            subject: subject.into(),
            old,
            new,
        }));
    };
    for (field, old, new) in [
        ("upload_bytes_per_session", before.upload_bytes_per_session, after.upload_bytes_per_session),
        ("upload_bytes", before.upload_bytes, after.upload_bytes),
    ] {
        add(of_limits(old, new), field, or_default(old), or_default(new));
    }
    add(
        of_numbers(before.sessions, after.sessions),
        "sessions",
        or_default(before.sessions),
        or_default(after.sessions),
    );
    let mode = match (before.mode, after.mode) {
        (Mode::Enforce, Mode::Report) => Some(Direction::Widened),
        (Mode::Report, Mode::Enforce) => Some(Direction::Narrowed),
        _ => None,
    };
    add(mode, "mode", mode_word(before.mode), mode_word(after.mode));
    let ttl = (Some(old.ttl.as_secs()), Some(new.ttl.as_secs()));
    add(
        of_numbers(ttl.0, ttl.1),
        "ttl_seconds",
        old.ttl.as_secs().to_string(),
        new.ttl.as_secs().to_string(),
    );
    for (field, old, new) in [
        ("id", old.id.as_ref().map(ToString::to_string), new.id.as_ref().map(ToString::to_string)),
        ("agent", Some(old.agent.to_string()), Some(new.agent.to_string())),
        ("identity.user", Some(old.user.to_string()), Some(new.user.to_string())),
        ("identity.device", Some(old.device.to_string()), Some(new.device.to_string())),
        ("role", old.role.clone(), new.role.clone()),
        ("residency", old.residency.clone(), new.residency.clone()),
    ] {
        let changed = (old != new).then_some(Direction::Changed);
        add(changed, field, old.unwrap_or_default(), new.unwrap_or_default());
    }
    add(
        (old.filesystem != new.filesystem).then_some(Direction::Changed),
        "filesystem",
        String::new(),
        String::new(),
    );
    add((old.secrets != new.secrets).then_some(Direction::Changed), "secrets", String::new(), String::new());
    differences
}

/// Where the two decide differently, by the patterns of both.
fn destinations(old: &ManifestDraft, new: &ManifestDraft) -> Vec<Difference> {
    let (before, after) = (Rules::compile(&old.network), Rules::compile(&new.network));
    let (patterns, borders) = (patterns(old, new), borders(old, new));
    let mut differences: Vec<Difference> = Vec::new();
    for pattern in patterns {
        let ports = borders.iter().copied().filter(|port| pattern.ports.contains(*port));
        for probe in probe::destinations(&pattern, ports) {
            let (old, new) = (granted(&before, &probe), granted(&after, &probe));
            let direction = of_entries(old, new, probe.port());
            let Some(direction) = direction else { continue };
            let subject = pattern.to_string();
            let (old, new) = (described(old, probe.port()), described(new, probe.port()));
            let difference = Difference { direction, subject, old, new };
            if !differences.contains(&difference) {
                differences.push(difference);
            }
        }
    }
    differences
}

fn patterns(old: &ManifestDraft, new: &ManifestDraft) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for network in [&old.network, &new.network] {
        let listed = network.allow.iter().map(|entry| &entry.pattern).chain(&network.deny);
        for pattern in listed {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
    }
    patterns
}

/// The ports at which some range begins, ends, or has just ended: between two of them nothing can differ.
fn borders(old: &ManifestDraft, new: &ManifestDraft) -> BTreeSet<u16> {
    let mut borders = BTreeSet::from([80, 443]);
    for pattern in patterns(old, new) {
        let (first, last) = pattern.ports.bounds();
        borders.extend([first, first.saturating_sub(1), last, last.saturating_add(1)]);
    }
    borders
}

fn granted<'a>(rules: &'a Rules, probe: &Destination) -> Option<&'a AllowEntry> {
    match rules.matching(probe) {
        Match::Allow(rule) => rules.allow_entry(rule),
        Match::Deny(_) | Match::Tie | Match::Unlisted => None,
    }
}

fn of_entries(old: Option<&AllowEntry>, new: Option<&AllowEntry>, port: u16) -> Option<Direction> {
    let (old, new) = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Direction::Widened),
        (Some(_), None) => return Some(Direction::Narrowed),
        (Some(old), Some(new)) => (old, new),
    };
    let strictness = |entry: &AllowEntry| match entry.expected_tls(port) {
        TlsExpectation::None => 0,
        TlsExpectation::Optional => 1,
        TlsExpectation::Sni => 2,
    };
    let parts = [
        of_limits(old.upload_bytes_per_session, new.upload_bytes_per_session),
        of_limits(old.upload_bytes, new.upload_bytes),
        of_numbers(Some(strictness(new)), Some(strictness(old))),
    ];
    let mut parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.dedup();
    match parts.as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => Some(Direction::Changed),
    }
}

fn of_limits(old: Option<Limit>, new: Option<Limit>) -> Option<Direction> {
    of_numbers(old.map(Limit::bytes), new.map(Limit::bytes))
}

/// A greater number allows more; what is left to the gateway's default cannot be compared.
fn of_numbers<T: Ord>(old: Option<T>, new: Option<T>) -> Option<Direction> {
    match (old, new) {
        (None, None) => None,
        (Some(old), Some(new)) => match old.cmp(&new) {
            std::cmp::Ordering::Less => Some(Direction::Widened),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Direction::Narrowed),
        },
        _ => Some(Direction::Changed),
    }
}

fn described(entry: Option<&AllowEntry>, port: u16) -> String {
    let Some(entry) = entry else { return "denied".into() };
    let mut parts = vec!["allowed".to_owned()];
    parts.extend(entry.upload_bytes_per_session.map(|bytes| format!("{bytes} a session")));
    parts.extend(entry.upload_bytes.map(|bytes| format!("{bytes} in all")));
    let tls = match entry.expected_tls(port) {
        TlsExpectation::Sni => "sni",
        TlsExpectation::Optional => "optional",
        TlsExpectation::None => "none",
    };
    parts.extend(entry.tls.map(|_| format!("tls {tls}")));
    parts.join(", ")
}

fn or_default(number: Option<impl Display>) -> String {
    number.map_or_else(|| "the gateway's default".into(), |number| number.to_string())
}

fn mode_word(mode: Mode) -> String {
    match mode {
        Mode::Enforce => "enforce".into(),
        Mode::Report => "report".into(),
    }
}
