//! A control plane and its gateways: revocation through the API, receipts, restarts, and what nobody may forget.

mod budgets;
mod crls;
mod drill;
mod fanout;
mod kills;
mod oidc;
mod receipts;
mod reload;
mod restarts;
mod scale;
mod settings;
mod signals;
mod targets;
mod trials;
