//! policy-sync
