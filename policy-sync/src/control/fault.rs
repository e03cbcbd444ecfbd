//! Why a control plane cannot start, and why it does not take what it is offered.

use certs::{CrlNumber, TrustFault};

use crate::assembly::NotAdmitted;
use crate::keys::Role;
use crate::log::{LogFault, Position};
use crate::signed::SignedFault;
use crate::transport::TransportFault;

/// Why a control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PlaneFault {
    /// The log cannot be read or founded.
    #[error("the log of policy cannot be used: {0}")]
    Transport(#[from] TransportFault),
    /// A record, or the snapshot before it, is not in order.
    #[error("the log of policy is damaged behind {after}: {fault}")]
    Damaged {
        /// The last place that is in order.
        after: Position,
        /// What is wrong behind it.
        fault: LogFault,
    },
    /// A record does not follow the one before it.
    #[error("the log of policy is bent: the record behind {after} does not follow it")]
    Bent {
        /// The last place that is in order.
        after: Position,
    },
    /// A chunk of the snapshot is gone.
    #[error("the log of policy is incomplete: a part of the snapshot at {at} is missing")]
    Incomplete {
        /// Where the snapshot was taken.
        at: Position,
    },
    /// The key that is to sign the log is not in the ring, another one is under its name, or it has not the role.
    #[error("the key {id} has not the role `{role}` in the key ring")]
    Key {
        /// The name of the key.
        id: crate::keys::KeyId,
        /// The role that it needs.
        role: Role,
    },
    /// The metrics could not be registered.
    #[error("cannot register the metrics of the control plane: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a control plane does not take what it is offered.
#[derive(Debug, thiserror::Error)]
pub enum SubmitFault {
    /// Its signatures, its roles or its payload are not in order.
    #[error(transparent)]
    Refused(#[from] SignedFault),
    /// It is not what was asked for, or cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// A gateway would not take it either.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// A CRL that cannot be believed.
    #[error(transparent)]
    Crl(#[from] TrustFault),
    /// A later CRL of this issuer is known.
    #[error("the crl has number {offered}, and one of this issuer with number {known} is in force")]
    OldCrl {
        /// The number of the one that was offered.
        offered: CrlNumber,
        /// The number of the one in force.
        known: CrlNumber,
    },
    /// This control plane has no key to sign it with.
    #[error("this control plane has no key with the role `{0}`; send a signed envelope")]
    NoKey(Role),
    /// The revocation of a manifest or a certificate.
    #[error("the revocation of a manifest or a certificate is never lifted")]
    NotLiftable,
    /// There is no such manifest or revocation.
    #[error("there is nothing of this name in force")]
    Unknown,
    /// It could not be written down. Gateways may enforce a revocation all the same.
    #[error("it is not written down, although gateways may enforce it already: {0}")]
    NotDurable(TransportFault),
    /// Too much is waiting to be written down.
    #[error("too much is waiting to be written down; try again")]
    Busy,
}

impl SubmitFault {
    /// The word for metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Malformed(_) => "malformed",
            Self::NotAdmitted(_) => "not_admitted",
            Self::Crl(_) => "crl",
            Self::OldCrl { .. } => "old_crl",
            Self::NoKey(_) => "no_key",
            Self::NotLiftable => "not_liftable",
            Self::Unknown => "unknown",
            Self::NotDurable(_) => "not_durable",
            Self::Busy => "busy",
        }
    }
}
