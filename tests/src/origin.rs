//! Destinations: what stands where an agent's bytes are supposed to arrive, and counts them.

mod capture;
mod dns;
mod http;
mod tls;

pub use capture::{Behaviour, Capture, Incoming};
pub use dns::{DnsOrigin, Reply};
pub use http::{HttpOrigin, Received};
pub use tls::{TlsOrigin, tunnelled};
