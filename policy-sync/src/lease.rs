//! Parts of an upload budget that many gateways share: what is asked for, and what is answered.
//!
//! A manifest's budget is one number, however many gateways serve its device. A control plane hands out parts of it, each
//! once; a gateway spends only what it holds. What a gateway that crashed still held is lost, never handed out twice.

use serde::{Deserialize, Serialize};

/// A gateway asks for a part of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The device of the sessions.
    pub device: String,
    /// The agent of the manifest.
    pub agent: String,
    /// The pattern of the rule whose budget it is; absent for the manifest's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Unix seconds from which the budget's window of time runs.
    pub window_from: i64,
    /// How many bytes are asked for.
    pub want: u64,
}

/// What a control plane hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAnswer {
    /// So many bytes more may be spent by the one who asked. 0 when nothing is left.
    pub granted: u64,
    /// What is left of the budget after this, in bytes; `None` when it has no limit.
    pub left: Option<u64>,
}
