//! Why a certificate was refused: one closed list, and the alert each entry sends.
//!
//! Relies on nothing. Every path of verification ends in a verified device or in one of these; there is no third thing.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

/// Why a device certificate, or the chain behind it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The peer presented no certificate.
    #[error("no certificate was presented")]
    NoCertificate,
    /// More than 10 certificates, more than 64 KiB of them, or more than 5 on the verified path.
    #[error("the certificate chain is too long")]
    ChainTooLong,
    /// Not a well-formed X.509 version 3 certificate, or a critical extension that nobody here knows.
    #[error("the certificate is malformed")]
    Malformed,
    /// No path leads to an authority of `trust.device_ca`.
    #[error("the certificate was issued by an unknown authority")]
    UnknownIssuer,
    /// A signature on the path does not verify.
    #[error("a signature on the certificate chain is wrong")]
    BadSignature,
    /// A signature algorithm that is not accepted, such as SHA-1.
    #[error("the certificate is signed with an algorithm that is not accepted")]
    AlgorithmNotAccepted,
    /// An RSA key below 2048 bits, or a key of an unknown kind.
    #[error("the key of the certificate is too weak")]
    WeakKey,
    /// A certificate of the path, or its anchor, has ended.
    #[error("a certificate of the chain has expired")]
    Expired,
    /// A certificate of the path, or its anchor, has not begun.
    #[error("a certificate of the chain is not yet valid")]
    NotYetValid,
    /// The certificate is on its issuer's CRL.
    #[error("the certificate is revoked")]
    Revoked,
    /// An authority of the path is on its issuer's CRL.
    #[error("an authority of the chain is revoked")]
    AuthorityRevoked,
    /// There is no CRL of an authority of the path that can be relied on.
    #[error("whether the certificate is revoked is unknown: an authority of the chain has no usable crl")]
    RevocationUnknown,
    /// The CRL of an authority of the path should have been replaced by now, or comes from the future.
    #[error(
        "whether the certificate is revoked is unknown: the crl of an authority of the chain is out of date"
    )]
    CrlStale,
    /// Not for `clientAuth`, or an authority on the path that may not issue.
    #[error("the certificate is not meant for this use")]
    WrongUsage,
    /// An authority's certificate where a device's belongs.
    #[error("the certificate is an authority's, not a device's")]
    AuthorityAsDevice,
    /// A path length or name constraint of an authority does not hold.
    #[error("a constraint of an authority does not hold")]
    ConstraintViolated,
    /// No name of the kind that identifies devices here.
    #[error("the certificate names no device")]
    IdentityMissing,
    /// More than one name of the kind that identifies devices here.
    #[error("the certificate names more than one device")]
    IdentityAmbiguous,
    /// A name that is not a device identifier.
    #[error("the certificate's device name is malformed")]
    IdentityMalformed,
    /// The peer did not prove that it holds the certificate's key.
    #[error("the peer did not prove possession of the certificate's key")]
    PossessionUnproven,
}

impl Refusal {
    /// All of them, in the order of declaration.
    pub const ALL: &[Self] = &[
        Self::NoCertificate,
        Self::ChainTooLong,
        Self::Malformed,
        Self::UnknownIssuer,
        Self::BadSignature,
        Self::AlgorithmNotAccepted,
        Self::WeakKey,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::AuthorityRevoked,
        Self::RevocationUnknown,
        Self::CrlStale,
        Self::WrongUsage,
        Self::AuthorityAsDevice,
        Self::ConstraintViolated,
        Self::IdentityMissing,
        Self::IdentityAmbiguous,
        Self::IdentityMalformed,
        Self::PossessionUnproven,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::ChainTooLong => "chain_too_long",
            Self::Malformed => "certificate_malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadSignature => "bad_signature",
            Self::AlgorithmNotAccepted => "algorithm_not_accepted",
            Self::WeakKey => "weak_key",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Revoked => "certificate_revoked",
            Self::AuthorityRevoked => "authority_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::CrlStale => "crl_stale",
            Self::WrongUsage => "wrong_usage",
            Self::AuthorityAsDevice => "authority_as_device",
            Self::ConstraintViolated => "constraint_violated",
            Self::IdentityMissing => "identity_missing",
            Self::IdentityAmbiguous => "identity_ambiguous",
            Self::IdentityMalformed => "identity_malformed",
            Self::PossessionUnproven => "possession_unproven",
        }
    }

    /// Which check ended a handshake, read back from what rustls reports; `None` when it was no certificate check.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        let certificate = match error {
            Error::NoCertificatesPresented => return Some(Self::NoCertificate),
            Error::InvalidCertificate(certificate) => certificate,
            _ => return None,
        };
        Some(match certificate {
            CertificateError::Other(OtherError(inner)) => {
                *inner.downcast_ref::<Self>().unwrap_or(&Self::Malformed)
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::RevocationUnknown,
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Self::CrlStale,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongUsage
            }
            CertificateError::BadSignature => Self::PossessionUnproven,
            _ => Self::Malformed,
        })
    }

    /// What rustls is to report and to alert: `certificate_expired`, `certificate_revoked`, `unknown_ca`,
    /// `unsupported_certificate`, `bad_certificate`, `decrypt_error`, and `certificate_unknown` for the rest (RFC 8446 §6.2).
    ///
    /// [`Refusal::of`] reads back which refusal it was.
    pub(crate) fn into_tls(self) -> Error {
        let error = match self {
            Self::NoCertificate => return Error::NoCertificatesPresented,
            Self::Expired => CertificateError::Expired,
            Self::NotYetValid => CertificateError::NotValidYet,
            Self::Revoked => CertificateError::Revoked,
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::RevocationUnknown => CertificateError::UnknownRevocationStatus,
            Self::CrlStale => CertificateError::ExpiredRevocationList,
            Self::WrongUsage => CertificateError::InvalidPurpose,
            Self::Malformed => CertificateError::BadEncoding,
            Self::PossessionUnproven => CertificateError::BadSignature,
            Self::ChainTooLong
            | Self::BadSignature
            | Self::AlgorithmNotAccepted
            | Self::WeakKey
            | Self::AuthorityRevoked
            | Self::AuthorityAsDevice
            | Self::ConstraintViolated
            | Self::IdentityMissing
            | Self::IdentityAmbiguous
            | Self::IdentityMalformed => CertificateError::Other(OtherError(Arc::new(self))),
        };
        Error::InvalidCertificate(error)
    }
}

impl From<webpki::Error> for Refusal {
    /// By class; what webpki may add later counts as malformed, which refuses all the same.
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as Found;
        match error {
            Found::CaUsedAsEndEntity => Self::AuthorityAsDevice,
            Found::CertExpired { .. } | Found::InvalidCertValidity => Self::Expired,
            Found::CertNotValidYet { .. } => Self::NotYetValid,
            Found::CertRevoked => Self::Revoked,
            Found::UnknownIssuer => Self::UnknownIssuer,
            Found::InvalidSignatureForPublicKey => Self::BadSignature,
            Found::UnsupportedSignatureAlgorithmContext(_)
            | Found::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::AlgorithmNotAccepted,
            Found::EmptyEkuExtension | Found::RequiredEkuNotFoundContext(_) | Found::EndEntityUsedAsCa => {
                Self::WrongUsage
            }
            Found::NameConstraintViolation
            | Found::PathLenConstraintViolated
            | Found::MalformedNameConstraint
            | Found::InvalidNetworkMaskConstraint => Self::ConstraintViolated,
            Found::MaximumPathDepthExceeded
            | Found::MaximumPathBuildCallsExceeded
            | Found::MaximumSignatureChecksExceeded
            | Found::MaximumNameConstraintComparisonsExceeded => Self::ChainTooLong,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_read_back_from_what_rustls_reports() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(&refusal.into_tls()), Some(*refusal));
        }
        assert_eq!(Refusal::of(&Error::DecryptError), None);
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
