//! The enforcement point, and the `portcullis` command.
//!
//! In reading order, as one CONNECT passes through. A connection: [`listener`] accepts it under a cap,
//! [`proxy_protocol`] says where it comes from, [`handshake`] who is speaking, at a [`pace`] that leaves room for tunnels; [`http1`] and [`http2`] read requests from
//! it, strictly ([`request`]). A request becomes a session in [`session`], which tells the story: [`registry`] enters it,
//! [`authorize`] decides it, [`budget`] opens its account, [`resolve`] and [`screen`] find an address that may be dialled,
//! [`dial`] dials it, [`egress`] meters and gates every write. A tunnel is opened with [`inspect`] and carried by
//! [`tunnel`] over whatever [`downstream`] it came on; [`plain`] exchanges plain HTTP by means of [`forward`]. [`reply`]
//! says what a refused device hears, [`record`] what is said of a session afterwards.
//!
//! Beside the path: [`revoke`] makes a change of policy take effect on live sessions, [`sweep`] ends those whose time is
//! up, [`explain`] answers what would be decided. [`gateway`] holds what sessions share, [`assemble`] builds it from
//! settings and [`reload`] changes it, [`life`] starts and drains the process, [`admin`] and [`pac`] are its other
//! listeners, [`listening`] binds them, [`notify`] tells the service manager, [`metrics`] names what is counted, [`clock`] says what time it is.
//!
//! [`control`] is the other process that this program can be: a control plane.
//!
//! This is the only crate that opens connections to destinations, and [`dial`] the only file in it.

pub mod handshake;
pub mod listener;
pub mod pace;
pub mod proxy_protocol;

pub mod http1;
pub mod http2;
pub mod request;

pub mod authorize;
pub mod budget;
pub mod dial;
pub mod egress;
pub mod registry;
pub mod resolve;
pub mod screen;
pub mod session;

pub mod downstream;
pub mod forward;
pub mod inspect;
pub mod plain;
pub mod record;
pub mod reply;
pub mod tunnel;

pub mod explain;
pub mod revoke;
pub mod sweep;

pub mod admin;
pub mod assemble;
pub mod clock;
pub mod control;
pub mod gateway;
pub mod life;
pub mod listening;
pub mod metrics;
pub mod notify;
pub mod pac;
pub mod policy;
pub mod reload;

pub use control::{ControlAddresses, Epoch, Until, run_control, run_control_until};
pub use life::{Addresses, run, run_announcing};
