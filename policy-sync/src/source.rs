//! Sources: where signed policy comes from.
//!
//! Whatever the transport, everything passes through one intake: verify, admit, publish, remember. A source can delay what
//! was signed; it cannot forge it, roll it back, or make the gateway forget a revocation.

pub mod dir;
pub mod follow;
pub(crate) mod intake;
mod kept;
mod memory;

use crate::journal::JournalFault;

/// Why a source cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// What must not be forgotten cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalFault),
    /// A file of the state directory cannot be used.
    #[error("cannot use the state directory: {0}")]
    State(std::io::Error),
    /// The metrics could not be registered.
    #[error("cannot register the metrics of the policy source: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The thread could not be started.
    #[error("cannot start the policy thread: {0}")]
    Thread(std::io::Error),
}
