//! Parts of an upload budget that many gateways share: what is asked for, and what is answered.
//!
//! A manifest's budget is one number, however many gateways serve its device. A control plane hands out parts of it, each
//! once; a gateway spends only what it holds. Every budget of a gateway has an account with the control plane, and both sides
//! speak of the account's totals, never of single steps. So nothing that is asked twice is handed out twice, and
//! an answer that was lost comes with the next one. What a gateway that crashed still held is lost.

use serde::{Deserialize, Serialize};

/// The most bytes that one account may ever be granted, so that no sum of them wraps around.
pub const MOST_GRANTED: u64 = 1 << 62;

/// A gateway asks for more of a budget, gives some of it back, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The device of the sessions.
    pub device: String,
    /// The agent of the manifest.
    pub agent: String,
    /// The pattern of the rule whose budget it is, as it is printed; absent for the manifest's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// When the manifest was issued that the gateway goes by, in Unix seconds. A control plane that knows only an older one
    /// grants nothing yet.
    pub issued_at: i64,
    /// The name of the account: drawn at random by the gateway, and never used for another budget or by another process.
    pub account: u64,
    /// All bytes that were ever granted to the account, as far as the gateway has heard.
    pub granted: u64,
    /// All bytes of it that were ever given back, and will never be spent.
    pub returned: u64,
    /// How many bytes more are asked for, at most.
    pub want: u64,
    /// Whether the account will not be used again. What it still holds then is spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closes: bool,
}

/// What a control plane hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseAnswer {
    /// All bytes that were ever granted to the account. Absent when the account is not known, or no longer: what it was
    /// granted may still be spent, and counts as spent; more is granted to a new account.
    pub granted: Option<u64>,
    /// What nobody holds of the budget after this, in bytes; absent when it has no limit.
    pub left: Option<u64>,
}
