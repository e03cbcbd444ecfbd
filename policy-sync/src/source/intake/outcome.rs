//! What became of something that was offered.

use config::ManifestId;

use crate::assembly::NotAdmitted;
use crate::envelope::EnvelopeFault;
use crate::signed::SignedFault;

/// What a file of a source is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Revocation,
    Crl,
    Manifest,
}

impl Kind {
    /// Every kind, in the order in which they are looked at: what takes away before what gives.
    pub(crate) const ALL: [Self; 3] = [Self::Revocation, Self::Crl, Self::Manifest];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Revocation => "revocation",
            Self::Crl => "crl",
        }
    }
}

/// A manifest that a source holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: ManifestId,
    pub(crate) digest: [u8; 32],
}

/// A manifest that is held now, and the payloads whose place it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) held: Held,
    pub(crate) displaced: Vec<[u8; 32]>,
}

/// Why something that was offered changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Envelope(#[from] EnvelopeFault),
    #[error(transparent)]
    Signed(#[from] SignedFault),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
}

impl Refused {
    /// Whether the same bytes may be taken later on.
    pub(crate) fn passes(&self) -> bool {
        *self == Self::NotAdmitted(NotAdmitted::FromTheFuture)
    }
}
