//! The API of a control plane from outside: by the commands that use it, and by everything that its own description allows.

mod approvals;
mod commands;
mod properties;
