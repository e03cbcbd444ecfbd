//! Why a file cannot be trusted as given: every fault names the file.

use std::fmt;

use crate::crl::CrlNumber;

/// What is wrong with one file of authorities or CRLs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustFault {
    /// The file cannot be read, or its PEM cannot be decoded.
    #[error("{origin}: cannot be read: {why}")]
    Unreadable {
        /// The file.
        origin: String,
        /// What the system or the decoder said.
        why: String,
    },
    /// The file holds nothing of the expected kind.
    #[error("{origin}: holds no {what}")]
    Empty {
        /// The file.
        origin: String,
        /// `certificate` or `crl`.
        what: &'static str,
    },
    /// A certificate that cannot serve as an authority.
    #[error("{origin}: {subject} cannot be an authority: {why}")]
    NoAuthority {
        /// The file.
        origin: String,
        /// Its subject, escaped.
        subject: String,
        /// Why not.
        why: &'static str,
    },
    /// No authority is left that can anchor a path.
    #[error(
        "no file of authorities holds an anchor: a self-issued certificate, or one whose issuer is not among them"
    )]
    NoAnchor,
    /// A CRL that cannot be parsed, or lacks what RFC 5280 demands.
    #[error("{origin}: the crl is malformed: {why}")]
    CrlMalformed {
        /// The file.
        origin: String,
        /// What is wrong or missing.
        why: String,
    },
    /// A kind of CRL that could only be misread here.
    #[error("{origin}: is {what}, which is not supported; give a complete crl of the authority")]
    CrlUnsupported {
        /// The file.
        origin: String,
        /// The kind.
        what: &'static str,
    },
    /// More entries than the settings allow.
    #[error("{origin}: the crl has more than {allowed} entries")]
    CrlTooLong {
        /// The file.
        origin: String,
        /// The configured limit.
        allowed: usize,
    },
    /// `thisUpdate` lies ahead of the clock by more than the tolerated five minutes.
    #[error("{origin}: the crl of {issuer} is from the future, or the clock is behind")]
    CrlFromFuture {
        /// The file.
        origin: String,
        /// Its issuer, escaped.
        issuer: String,
    },
    /// The issuer is known, and did not sign it or may not sign CRLs.
    #[error("{origin}: the crl was not signed by {issuer}, whose name it carries")]
    CrlNotSigned {
        /// The file.
        origin: String,
        /// Its issuer, escaped.
        issuer: String,
    },
    /// Nobody whose CRLs are taken has this name.
    #[error(
        "{origin}: the crl is of {issuer}, which is none of the known authorities; add its certificate to them"
    )]
    CrlOfStranger {
        /// The file.
        origin: String,
        /// Its issuer, escaped.
        issuer: String,
    },
    /// An older CRL than one that was relied on before.
    #[error("{origin}: the crl of {issuer} has number {number}, but number {seen} was in force already")]
    CrlRolledBack {
        /// The file.
        origin: String,
        /// Its issuer, escaped.
        issuer: String,
        /// Its number.
        number: CrlNumber,
        /// The highest number seen.
        seen: CrlNumber,
    },
    /// Too many CRLs of an issuer whose certificate has not been seen yet.
    #[error("{origin}: there are too many crls of {issuer}; add its certificate to the authorities")]
    CrlsUnproven {
        /// The file.
        origin: String,
        /// Its issuer, escaped.
        issuer: String,
    },
    /// The identity rule cannot change while devices identified by the old one are connected.
    #[error("the identity rule cannot change while the gateway runs")]
    RuleChanged,
}

/// Everything that is wrong, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFaults(pub Vec<TrustFault>);

impl fmt::Display for TrustFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TrustFaults {}

impl From<TrustFault> for TrustFaults {
    fn from(fault: TrustFault) -> Self {
        Self(vec![fault])
    }
}
