//! Why the authority could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::identity::MalformedTrustDomain;

/// Why the authority could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFault {
    /// The directory holds an authority already; it is never overwritten.
    #[error("{} holds an authority already", .0.display())]
    Exists(PathBuf),
    /// A file of the authority cannot be read or written.
    #[error("cannot use {}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
    /// A file of the authority holds something else than it should.
    #[error("{} holds {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it holds, or lacks.
        what: &'static str,
    },
    /// The trust domain cannot stand in a SPIFFE URI.
    #[error("{0}")]
    TrustDomain(MalformedTrustDomain),
    /// The name of an intermediate is not made of letters, digits and hyphens.
    #[error("{0:?} is not a name of letters, digits and hyphens")]
    Name(String),
    /// Nothing of that kind was issued here.
    #[error("this authority issued no such certificate")]
    NotIssued,
    /// The certificate or CRL cannot be made.
    #[error("cannot issue: {0}")]
    Issuing(rcgen::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl AuthorityFault {
    pub(super) fn file(path: &Path, fault: io::Error) -> Self {
        Self::File { path: path.into(), fault }
    }
}
