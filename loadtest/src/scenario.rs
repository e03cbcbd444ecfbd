//! The scenarios, one file a question.

pub(crate) mod connect;
pub(crate) mod idle;
pub(crate) mod revoke;
pub(crate) mod transfer;
