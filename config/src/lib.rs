//! The language of Portcullis: hosts, patterns, destinations, limits, manifests, settings.
//!
//! Every other crate speaks in these types. A value that exists has been checked: a [`Name`] is in canonical form, a
//! [`Destination`] has a port, a manifest has been read whole or refused whole.
//!
//! This crate opens no socket, starts no task, and reads no clock.

mod host;

mod destination;

mod access;
mod identifiers;
mod reason;
mod size;

mod pattern;

mod manifest;

mod rules;

mod problems;
mod reading;

pub mod settings;

pub mod files;

#[cfg(test)]
mod testing;

pub use access::{ApiRole, ApiToken};
pub use destination::{Destination, MalformedDestination};
pub use host::{Host, MalformedHost, Name};
pub use identifiers::{AgentName, DeviceId, GatewayName, MalformedIdentifier, ManifestId, UserName};
pub use manifest::{
    AllowEntry, Filesystem, IssuedManifest, Manifest, ManifestDraft, Mode, Network, TlsExpectation,
    manifest_schema,
};
pub use pattern::{
    DefaultPorts, HostPattern, MalformedPattern, Pattern, PortPattern, Specificity, UnfitPattern,
};
pub use problems::{Problem, Problems};
pub use reading::{Format, Source};
pub use reason::{Reason, UnknownReason};
pub use rules::{DenyList, Match, RuleIndex, Rules};
pub use settings::{ControlSettings, GatewaySettings};
pub use size::{Limit, MalformedSize, parse_size};
