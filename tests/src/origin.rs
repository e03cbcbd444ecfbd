//! Destinations: what stands where an agent's bytes are supposed to arrive, and counts them.

mod capture;
mod dns;
mod http;
mod tls;
mod unanswering;

pub use capture::{Behaviour, Capture, Incoming};
pub use dns::{DnsOrigin, Reply};
pub use http::{HttpOrigin, Received};
pub use tls::{TlsOrigin, tunnelled};
pub use unanswering::Unanswering;
