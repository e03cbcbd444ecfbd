//! The process of a control plane: what `portcullis control` runs.
//!
//! In reading order: [`life`] binds, announces, runs, and ends it; [`assemble`] makes its parts from settings; [`files`] is
//! what the settings name; [`store`] is where its log is, and how gateways come to it; [`door`] lets agents in; [`reload`] puts changed files in force.
//!
//! Whatever decides stands in `policy_sync::control`; here is only how its parts are put together. It shares nothing with a
//! gateway but the program.

pub mod life;

mod assemble;
mod door;
mod files;
mod reload;
mod store;

pub use life::{ControlAddresses, Epoch, Until, run_control, run_control_until};
