//! One plain-HTTP request to its destination and the response back: the forward path.
//!
//! Takes a request that has been read ([`crate::request`]), authorized and dialled by others. What is sent
//! upstream is built anew from what was understood, never copied: the next request on the same downstream
//! connection, or whatever follows a body, cannot ride along. Relies on `hyper` for HTTP/1 to the origin,
//! over a stream that meters and gates its own writes. Never decides, never dials, never resolves, starts no
//! task: dropping the future of [`exchange()`] drops the upstream stream with it.
//!
//! In reading order: what is sent ([`Outbound`]), the body on its way up ([`Intake`]), the answer on its way
//! down ([`Answer`]), the conversation of both ([`exchange()`]), and idle upstream connections ([`Kept`] at hand,
//! [`Upstreams`] at rest).

mod answer;
mod body;
mod chunked;
mod exchange;
mod fault;
mod hop;
mod http1;
mod http2;
mod intake;
mod kept;
mod outbound;
mod pool;
#[cfg(test)]
mod tests;

pub use answer::{Answer, AnswerBody, AnswerHead};
pub use chunked::{Chunked, Step};
pub use exchange::{Exchanged, exchange};
pub use fault::{BodyFault, Fault};
pub use http1::Http1Answer;
pub use http2::{Http2Answer, Http2Intake};
pub use intake::{Http1Intake, Intake};
pub use kept::Kept;
pub use outbound::Outbound;
pub use pool::{UpstreamKey, Upstreams};
