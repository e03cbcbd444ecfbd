//! May the first flight go upstream? Holds the device's first bytes until they are judged.
//!
//! Where TLS is demanded nothing moves in either direction until the ClientHello has been read, and it has to come in
//! time. Where TLS is optional the destination may speak first (SSH, SMTP), so its bytes are relayed meanwhile and the
//! device may take its time. What was held is handed back whole: this module writes nothing upstream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use config::{Reason, TlsExpectation};
use tokio::io::ReadBuf;

use super::flow::Flow;
use super::{Downstream, Opening, ending_of_download, ending_of_downstream};
use crate::egress::Egress;
use crate::inspect::{FirstFlight, Verdict, judge};
use crate::registry::Session;

/// How much is read at a time while the first flight is not complete, in bytes.
const CHUNK: usize = 4 * 1024;

/// Returns the device's first bytes once they may be forwarded.
///
/// # Errors
/// Why the session ends instead.
pub(super) async fn inspect<D: Downstream>(
    session: &Session,
    downstream: &mut D,
    upstream: &mut Egress,
    opening: Opening<'_>,
    early: Bytes,
    down: &mut Flow,
) -> Result<Bytes, Reason> {
    if opening.expectation == TlsExpectation::None {
        return Ok(early);
    }
    let mut inspection =
        Inspection { opening, flight: FirstFlight::new(), held: BytesMut::from(&early[..]), ended: false };
    if let Some(verdict) = inspection.look(early.len()) {
        return verdict;
    }
    let work = std::future::poll_fn(|cx| {
        if let Poll::Ready(reason) = session.gate.poll_fallen(cx) {
            return Poll::Ready(Err(reason));
        }
        if opening.expectation == TlsExpectation::Optional
            && let Poll::Ready(Err(broken)) = down.poll(cx, upstream, downstream)
        {
            return Poll::Ready(Err(ending_of_download(&broken)));
        }
        inspection.poll(cx, session, downstream)
    });
    match opening.expectation {
        TlsExpectation::Sni => {
            tokio::time::timeout(opening.first_flight, work).await.unwrap_or(Err(Reason::FirstFlightTimeout))
        }
        TlsExpectation::Optional | TlsExpectation::None => work.await,
    }
}

struct Inspection<'a> {
    opening: Opening<'a>,
    flight: FirstFlight,
    held: BytesMut,
    ended: bool,
}

impl Inspection<'_> {
    fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        downstream: &mut D,
    ) -> Poll<Result<Bytes, Reason>> {
        loop {
            let mut chunk = [0; CHUNK];
            let mut space = ReadBuf::new(&mut chunk);
            match Pin::new(&mut *downstream).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ending_of_downstream(&error))),
                Poll::Pending => return Poll::Pending,
            }
            let read = space.filled().len();
            self.ended = read == 0;
            self.held.extend_from_slice(space.filled());
            session.touch();
            if let Some(verdict) = self.look(read) {
                return Poll::Ready(verdict);
            }
        }
    }

    /// Looks at the last `new` bytes held; `None` while more is needed.
    fn look(&mut self, new: usize) -> Option<Result<Bytes, Reason>> {
        if self.ended && self.held.is_empty() {
            // The device closed without a word. Where TLS is optional that is a half-close like any other.
            return Some(match self.opening.expectation {
                TlsExpectation::Sni => Err(Reason::DownstreamClosed),
                TlsExpectation::Optional | TlsExpectation::None => Ok(Bytes::new()),
            });
        }
        let seen = self.held.len() - new;
        let progress = if self.ended {
            self.flight.finish()
        } else {
            self.flight.feed(self.held.get(seen..).unwrap_or_default())
        };
        match judge(self.opening.expectation, self.opening.destination, &progress) {
            Verdict::Forward => Some(Ok(self.held.split().freeze())),
            Verdict::Refuse(reason) => Some(Err(reason)),
            Verdict::NeedMore => None,
        }
    }
}
