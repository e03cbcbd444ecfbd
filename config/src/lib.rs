//! The language of Portcullis: hosts, patterns, destinations, limits, manifests, settings.
//!
//! Every other crate speaks in these types. A value that exists has been checked: a [`Name`] is in canonical form, a
//! [`Destination`] has a port, a manifest has been read whole or refused whole.
//!
//! This crate opens no socket, starts no task, and reads no clock.

mod destination;
mod host;
mod identifiers;
mod reason;
mod size;

pub use destination::{Destination, MalformedDestination};
pub use host::{Host, MalformedHost, Name};
pub use identifiers::{AgentName, DeviceId, MalformedIdentifier, ManifestId, UserName};
pub use reason::{Reason, UnknownReason};
pub use size::{Limit, MalformedSize, parse_size};
