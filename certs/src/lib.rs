//! Who is speaking: trust, device identity, revocation lists, and a small authority that issues for them.
//!
//! In reading order: [`authority`] makes certificates and CRLs; [`identity`] says whom a verified certificate names;
//! [`Refusal`] is the closed list of reasons against one.
//!
//! Relies on rustls and webpki for TLS and path building and on aws-lc-rs for every signature. This crate opens no
//! socket, starts no thread, and — issuing by hand apart — reads no clock: verification is told what time it is.

pub mod authority;
pub mod identity;
mod refusal;

mod authorities;
mod crl;
mod document;
mod issuers;
mod trust;

mod client;
mod gateway;
mod path;
mod remembered;
mod server;
mod tickets;
mod verifier;

mod certificate;
mod clock;
mod der;
mod files;
mod signed;

#[cfg(test)]
mod lab;

pub use certificate::{CertificateId, Serial, VerifiedDevice};
pub use client::{ClientFault, client_config};
pub use crl::{CrlNumber, CrlSummary};
pub use document::Document;
pub use gateway::{GatewayTrust, GatewayVerifier};
pub use identity::{IdentityRule, TrustDomain};
pub use issuers::{CrlIssuers, Strangers};
pub use refusal::Refusal;
pub use server::{
    ServerCertificate, ServerFault, TlsVersions, gateway_server_config, server_config,
    server_config_without_device_authentication,
};
pub use tickets::{LONGEST_TICKET, Possession, Tickets};
pub use trust::{
    CRL_MAX_ENTRIES, CrlStatus, HighWater, NewlyRevoked, Trust, TrustFault, TrustFaults, TrustSettings,
    Update,
};
pub use verifier::{DeviceVerifier, RefusalObserver, Refused};
