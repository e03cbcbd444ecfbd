//! Where does policy come from? The link between the gateway and its policy source.

use std::sync::Arc;

use policy_sync::PolicyBounds;

use crate::gateway::Gateway;

/// A running policy source; dropping it stops it.
#[derive(Debug)]
pub struct PolicyLink;

impl PolicyLink {
    /// Starts it.
    ///
    /// # Errors
    /// never
    pub fn start(_gateway: &Arc<Gateway>) -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// Bounds.
    pub fn rebound(&self, _bounds: PolicyBounds) {}
}
