//! The control plane: what decides in which order policy happens, and tells every gateway.
//!
//! [`jwks`] says who signed a token of somebody else: a person's, or a shared signal.

pub mod jwks;

#[cfg(test)]
mod testing;
