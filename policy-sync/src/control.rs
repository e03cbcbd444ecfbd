//! The control plane: what decides in which order policy happens, and tells every gateway.
//!
//! [`jwks`] says who signed a token of somebody else: a person's, or a shared signal. [`callers`] says who asks something
//! of the API, by [`tokens`] or by [`oidc`], and `rates` how often; [`roles`] what they may. [`serve`] is the listener.
//! [`leases`] is how gateways share a budget.

pub mod callers;
pub mod jwks;
pub mod leases;
pub mod oidc;
pub mod roles;
pub mod serve;
pub mod tokens;

mod rates;

#[cfg(test)]
mod testing;
