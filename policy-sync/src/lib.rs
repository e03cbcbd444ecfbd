//! What is allowed now: signed manifests and revocations in, one snapshot out.
//!
//! In reading order: [`keys`] says whose word counts; [`envelope`] whether a word is theirs; [`target`] and
//! [`revocations`] what is withdrawn; [`signed`] what a signed payload says; [`snapshot`] the policy at one moment;
//! [`decide`] what it says about a session; [`change`] whom a new one touches; [`feed`] how it takes effect;
//! [`assembly`] keeps the working set that snapshots are taken from, and its journal what must not be forgotten;
//! [`source`] brings it all in. [`log`] is the order in which a control plane decides, [`transport`] how its word
//! travels, and [`lease`] how gateways share a budget; [`control`] is that plane. [`local`] is what
//! listeners for their own machine are made of. [`linter`] looks at manifests before they are signed.
//!
//! Relies on `config` for manifests and matching, on `certs` for certificates and on `audit` for events. It
//! publishes and never knows who subscribes; it opens no connection to any destination.

pub mod keys;

pub mod envelope;

pub mod target;

pub mod revocations;
mod sharded;

pub mod signed;

pub mod snapshot;

pub mod decide;

pub mod change;

pub mod feed;

pub mod assembly;
mod files;
mod journal;

mod metrics;
pub mod source;

pub mod log;

pub mod window;

pub mod lease;

pub mod transport;

pub mod control;

pub mod local;

pub mod linter;

#[cfg(test)]
mod testing;

pub use assembly::Assembly;
pub use change::{Change, Subjects, Touched};
pub use decide::{Asking, Denial, Grant};
pub use envelope::{Envelope, EnvelopeFault, PayloadType};
pub use feed::{Enforcer, Feed, OutOfOrder, Receipt};
pub use keys::{KeyId, KeyRing, PublicKey, Role, SigningKey, TrustedKey};
pub use metrics::PolicyMetrics;
pub use revocations::{Revocation, Revocations, StatementId};
pub use signed::{
    Approvals, Lift, SignedFault, SignedManifest, Statement, sign_lift, sign_manifest, sign_revocation,
    verify_manifest, verify_statement,
};
pub use snapshot::{LiveManifest, PolicyBounds, Snapshot};
pub use source::SourceFault;
pub use source::dir::{CrlSink, DirOptions, DirSource};
pub use source::follow::{FollowOptions, FollowSource};
pub use target::{CertificateTarget, Target};
