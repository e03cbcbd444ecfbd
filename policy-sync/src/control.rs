//! The control plane: decides the order of policy, writes it down, and sees that every gateway follows.
//!
//! The log, in reading order: [`plane`] is what others call; `submission` what becomes of a call; [`fault`] why it is
//! refused; `meaning` what an entry says; `state` what the log comes to; `writing` the one task that appends; `gateways` who
//! follows, and how far; `heartbeat` says so every second; `snapshots` keep the log short; `metrics` and `telling` what is
//! counted and recorded.
//!
//! [`jwks`] says who signed a token of somebody else: a person's, or a shared signal. [`callers`] says who asks something
//! of the API, by [`tokens`] or by [`oidc`], and `rates` how often; [`roles`] what they may. [`api`] is how all of
//! this is said in HTTP, [`proposals`] what waits there for approval, [`serve`] its listener, [`ops`] the one for the machine.
//! [`checkout`] brings the files of a directory into the log. [`leases`] is how gateways share a budget. [`signals`] are
//! what others have noticed, [`agents`] what an agent is told of itself.
//!
//! Relies on a [`Transport`](crate::transport::Transport) for durability and delivery. A plane has no state of its own: whatever
//! it holds follows from the log, so any number of planes may share one. It never enforces anything.

pub mod fault;
pub mod plane;

mod crls;
mod gateways;
mod heartbeat;
mod meaning;
mod metrics;
mod snapshots;
mod state;
mod submission;
mod telling;
mod writing;

pub mod agents;
pub mod api;
pub mod callers;
pub mod checkout;
pub mod jwks;
pub mod leases;
pub mod oidc;
pub mod ops;
pub mod proposals;
pub mod roles;
pub mod serve;
pub mod signals;
pub mod tokens;

mod rates;

pub use crls::{CrlNote, Crls};
pub use fault::{PlaneFault, SubmitFault};
pub use gateways::{Applied, GatewayStatus};
pub use metrics::ControlMetrics;
pub use plane::{Plane, PlaneOptions, RevokeOrder, RevokeWhat, Revoked, Written};
pub use state::{ManifestNote, RevocationNote, State};

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
