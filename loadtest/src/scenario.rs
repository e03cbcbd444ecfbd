//! The scenarios, one file a question.

pub(crate) mod connect;
pub(crate) mod growth;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod limit;
pub(crate) mod redteam;
pub(crate) mod revoke;
pub(crate) mod soak;
pub(crate) mod transfer;
