//! A control plane and its gateways: revocation through the API, receipts, restarts, and what nobody may forget.

mod budgets;
mod drill;
mod fanout;
mod kills;
mod receipts;
mod reload;
mod restarts;
mod scale;
mod targets;
mod trials;
