//! How does an open session run, and how does it end? The relay between a device and a destination.
//!
//! One select, and it is biased: whether the session is to end is asked before a byte is moved. Everything that can end
//! a session from outside (revocation, expiry, narrowing, idleness, drain) arrives through the session's gate, so that the
//! relay has two arms and no timers of its own.
//!
//! A session that does not end by both sides closing is aborted on both sides: a reset, so that what the kernel still
//! holds dies too and nobody takes half an upload for a whole one.

mod buffers;
mod flow;
mod inspection;
#[cfg(test)]
mod tests;

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::{Destination, Reason, TlsExpectation};
use tokio::io::AsyncWrite;

use crate::egress::{Egress, EgressFault};
use crate::registry::{Session, Stage};
use flow::{Broken, Flow};

pub use flow::{Filled, Source};

/// The device's side of a tunnel, whatever carries it.
pub trait Downstream: Source + AsyncWrite + Send {
    /// Ends the side at once: a TCP reset, or the reset of one HTTP/2 stream.
    fn abort(&mut self);
}

/// What a tunnel has to show before its first byte goes upstream.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Whether the first flight is to be TLS, and its name the destination's.
    pub expectation: TlsExpectation,
    /// The destination that was allowed.
    pub destination: &'a Destination,
    /// How long the first flight may take where TLS is demanded.
    pub first_flight: Duration,
}

/// Inspects the first flight, then relays until both sides have closed or the session is told to end, and says why it
/// ended. `early` are bytes that the device sent before the tunnel opened; they are inspected and forwarded first.
pub async fn run<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    upstream: &mut Egress,
    opening: Opening<'_>,
    early: Bytes,
) -> Reason {
    let mut down = Flow::default();
    session.enter_stage(Stage::Inspecting);
    session.touch();
    let inspected = inspection::inspect(session, downstream, upstream, opening, early, &mut down).await;
    let ending = match inspected {
        Ok(first_flight) => relay(session, downstream, upstream, first_flight, &mut down).await,
        Err(reason) => reason,
    };
    drop(down);
    close(session, downstream, upstream, ending).await;
    ending
}

async fn relay<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    upstream: &mut Egress,
    first_flight: Bytes,
    down: &mut Flow,
) -> Reason {
    session.enter_stage(Stage::Open);
    let mut up = Flow::starting_with(&first_flight);
    // Even empty it may be the last part of the buffer that the request was read into.
    drop(first_flight);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(reason) = session.gate.poll_fallen(cx) {
            return Poll::Ready(reason);
        }
        poll_relay(cx, downstream, upstream, &mut up, down)
    })
    .await
}

fn poll_relay<D: Downstream>(
    cx: &mut Context<'_>,
    downstream: &mut D,
    upstream: &mut Egress,
    up: &mut Flow,
    down: &mut Flow,
) -> Poll<Reason> {
    let uploading = up.poll(cx, downstream, upstream);
    if let Poll::Ready(Err(broken)) = uploading {
        let ending = ending_of_upload(&broken);
        // Once the destination has closed, a device that just goes away has seen all there was.
        let completed = down.is_done() && ending == Reason::DownstreamClosed;
        return Poll::Ready(if completed { Reason::Completed } else { ending });
    }
    let downloading = down.poll(cx, upstream, downstream);
    match (uploading, downloading) {
        (_, Poll::Ready(Err(broken))) => Poll::Ready(ending_of_download(&broken)),
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Reason::Completed),
        _ => Poll::Pending,
    }
}

fn ending_of_upload(broken: &Broken) -> Reason {
    match broken {
        Broken::Source(error) => ending_of_downstream(error),
        Broken::Sink(error) => EgressFault::of(error).map_or(Reason::UpstreamFault, EgressFault::reason),
    }
}

fn ending_of_download(broken: &Broken) -> Reason {
    match broken {
        Broken::Source(_) => Reason::UpstreamFault,
        Broken::Sink(error) => ending_of_downstream(error),
    }
}

fn ending_of_downstream(error: &io::Error) -> Reason {
    match error.kind() {
        // A device that goes away without a TLS close_notify, or resets: its side closed, and not in good order.
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Reason::DownstreamClosed
        }
        _ => Reason::DownstreamFault,
    }
}

async fn close<D: Downstream>(session: &Session, downstream: &mut D, upstream: &mut Egress, ending: Reason) {
    match ending {
        Reason::Completed => {}
        Reason::UploadLimitExceeded | Reason::BudgetUnavailable | Reason::DownstreamClosed => {
            session.enter_stage(Stage::Settling);
            // What was handed to the kernel still belongs to the destination: let it arrive before the reset, unless
            // the session is revoked meanwhile.
            let _revoked = session.unless_cut(upstream.hold().settle()).await;
            upstream.abort();
            downstream.abort();
        }
        _ => {
            upstream.abort();
            downstream.abort();
        }
    }
}
