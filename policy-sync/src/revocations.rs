//! What has been revoked: a set that only lifting makes smaller.
//!
//! Looked up by what a session is, at the price of a hash per question, with a million entries as with one. Several
//! revocations can be aimed at one target; lifting one of them leaves the others in force.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use certs::CertificateId;

use crate::sharded::Sharded;
use crate::target::{CertificateTarget, Target, from_hex, to_hex};

/// The name of one signed statement: `rv-` and 32 hex digits of its payload's SHA-256. Nobody can choose it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId([u8; 16]);

impl StatementId {
    /// The name of the statement with this digest.
    #[must_use]
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(name)
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rv-{}", to_hex(&self.0))
    }
}

impl fmt::Debug for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StatementId {
    type Err = MalformedStatementId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("rv-").ok_or(MalformedStatementId)?;
        let canonical = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bytes = from_hex(digits).filter(|_| canonical).ok_or(MalformedStatementId)?;
        bytes.try_into().map(Self).map_err(|_| MalformedStatementId)
    }
}

/// The text is not `rv-` and 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected rv- and 32 lower-case hex digits")]
pub struct MalformedStatementId;

/// One revocation, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its name, by which it can be lifted.
    pub id: StatementId,
    /// What loses its authority.
    pub target: Target,
    /// Why, in the words of whoever revoked.
    pub reason: Arc<str>,
    /// When, by the clock of whoever revoked: seconds since 1970. For the record only; a revocation holds from the
    /// moment it is known.
    pub timestamp: i64,
}

/// The revocations in force.
#[derive(Debug, Clone)]
pub struct Revocations {
    by_target: Sharded<Target, InForce>,
}

/// One in nearly every case; a second one for the same target is what the list is for.
#[derive(Debug, Clone)]
enum InForce {
    One(Arc<Revocation>),
    Several(Arc<[Arc<Revocation>]>),
}

impl InForce {
    fn all(&self) -> &[Arc<Revocation>] {
        match self {
            Self::One(revocation) => std::slice::from_ref(revocation),
            Self::Several(revocations) => revocations,
        }
    }

    fn of(mut revocations: Vec<Arc<Revocation>>) -> Option<Self> {
        match revocations.len() {
            0 | 1 => revocations.pop().map(Self::One),
            _ => Some(Self::Several(revocations.into())),
        }
    }
}

impl Revocations {
    pub(crate) fn new() -> Self {
        Self { by_target: Sharded::new() }
    }

    /// Whether this very target is revoked. Says nothing of what includes it: see the questions below.
    #[must_use]
    pub fn contains(&self, target: &Target) -> bool {
        self.by_target.get(target).is_some()
    }

    /// The revocations aimed at this very target, in the order they became known.
    #[must_use]
    pub fn aimed_at(&self, target: &Target) -> &[Arc<Revocation>] {
        self.by_target.get(target).map_or(&[], InForce::all)
    }

    /// Whether this certificate is revoked, by fingerprint or by what its issuer calls it.
    #[must_use]
    pub fn certificate(&self, certificate: &CertificateId) -> bool {
        certificate_targets(certificate).iter().any(|target| self.contains(target))
    }

    /// How many targets are revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_target.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every revocation in force, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.by_target.iter().flat_map(|(_, in_force)| in_force.all())
    }

    /// Puts a revocation in force; false when it is already.
    pub(crate) fn insert(&mut self, revocation: Arc<Revocation>) -> bool {
        let present = self.aimed_at(&revocation.target);
        if present.iter().any(|other| other.id == revocation.id) {
            return false;
        }
        let target = revocation.target.clone();
        let all = present.iter().cloned().chain([revocation]).collect();
        if let Some(in_force) = InForce::of(all) {
            self.by_target.insert(target, in_force);
        }
        true
    }

    /// Takes a revocation out of force; false when it was not.
    pub(crate) fn remove(&mut self, id: StatementId, target: &Target) -> bool {
        let present = self.aimed_at(target);
        let rest: Vec<_> = present.iter().filter(|other| other.id != id).cloned().collect();
        if rest.len() == present.len() {
            return false;
        }
        match InForce::of(rest) {
            Some(in_force) => drop(self.by_target.insert(target.clone(), in_force)),
            None => drop(self.by_target.remove(target)),
        }
        true
    }

    /// The targets that are revoked in one of the two only.
    pub(crate) fn differing(&self, other: &Self) -> Vec<Target> {
        // Whether one revocation or several are aimed at a target makes no difference to anybody.
        self.by_target.differing(&other.by_target, |_, _| true)
    }
}

fn certificate_targets(certificate: &CertificateId) -> [Target; 2] {
    let (issuer, serial) = (certificate.issuer.clone(), certificate.serial.clone());
    [
        Target::Certificate(CertificateTarget::Fingerprint(certificate.fingerprint)),
        Target::Certificate(CertificateTarget::IssuerSerial { issuer, serial }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(number: u8, target: Target) -> Arc<Revocation> {
        let id = StatementId([number; 16]);
        Arc::new(Revocation { id, target, reason: "test".into(), timestamp: 0 })
    }

    #[test]
    fn lifting_one_of_two_revocations_leaves_the_target_revoked() {
        let target = Target::Device("device-1".parse().unwrap());
        let mut revocations = Revocations::new();
        assert!(revocations.insert(revocation(1, target.clone())));
        assert!(!revocations.insert(revocation(1, target.clone())));
        assert!(revocations.insert(revocation(2, target.clone())));
        assert_eq!(revocations.len(), 1);
        assert!(revocations.remove(StatementId([1; 16]), &target));
        assert!(!revocations.remove(StatementId([1; 16]), &target));
        assert!(revocations.contains(&target));
        assert!(revocations.remove(StatementId([2; 16]), &target));
        assert!(revocations.is_empty());
    }

    #[test]
    fn a_certificate_is_revoked_by_either_of_its_names() {
        let certificate =
            CertificateId { fingerprint: [7; 32], issuer: (*b"issuer").into(), serial: [1, 2].into() };
        let issuer_serial = CertificateTarget::parse_issuer_serial(b"issuer", "00:01:02").unwrap();
        let elsewhere = CertificateTarget::parse_issuer_serial(b"other", "0102").unwrap();
        for (target, expected) in [
            (CertificateTarget::Fingerprint([7; 32]), true),
            (CertificateTarget::Fingerprint([8; 32]), false),
            (issuer_serial, true),
            (elsewhere, false),
        ] {
            let mut revocations = Revocations::new();
            revocations.insert(revocation(1, Target::Certificate(target)));
            assert_eq!(revocations.certificate(&certificate), expected);
        }
    }

    #[test]
    fn the_name_of_a_statement_reads_back_in_one_spelling_only() {
        let id = StatementId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "rv-", "rv-ab", &id.to_string().to_uppercase(), &format!("{id}00")] {
            assert_eq!(text.parse::<StatementId>(), Err(MalformedStatementId), "{text:?}");
        }
    }
}
