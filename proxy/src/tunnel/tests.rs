//! A flow under every split of reads and writes, and a relay against a limit over real sockets.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use config::{AgentName, DeviceId, Limit};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::budget::{BudgetSubject, Budgets};
use crate::registry::{Kind, Registry, races};

/// Gives its pieces one by one, and takes what is written in gulps of its own sizes.
#[derive(Default)]
struct Choppy {
    pieces: VecDeque<Vec<u8>>,
    gulps: VecDeque<usize>,
    /// How it breaks behind its last piece; once, and then it looks like an end.
    fault: Option<io::ErrorKind>,
    taken: Vec<u8>,
    flushed: usize,
    shut: bool,
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.pieces.pop_front() {
            None => Poll::Ready(self.fault.take().map_or(Ok(()), |kind| Err(kind.into()))),
            Some(piece) if piece.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(mut piece) => {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.pieces.push_front(rest);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let gulp = self.gulps.pop_front().unwrap_or(usize::MAX).min(buf.len());
        if gulp == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.taken.extend_from_slice(&buf[..gulp]);
        Poll::Ready(Ok(gulp))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = self.taken.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

proptest! {
    #[test]
    fn a_flow_moves_every_byte_in_order_whatever_the_splits(
        early in proptest::collection::vec(any::<u8>(), 0..2_000),
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3_000), 0..40),
        gulps in proptest::collection::vec(0_usize..2_000, 0..200),
    ) {
        let expected: Vec<u8> = early.iter().copied().chain(pieces.iter().flatten().copied()).collect();
        let mut source = Choppy { pieces: pieces.into(), ..Choppy::default() };
        let mut sink = Choppy { gulps: gulps.into(), ..Choppy::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut flow = Flow::starting_with(&early);
            std::future::poll_fn(|cx| flow.poll(cx, &mut source, &mut sink)).await.unwrap();
        });
        prop_assert_eq!(sink.taken, expected);
        prop_assert!(sink.shut);
    }

    #[test]
    fn an_origin_receives_exactly_the_limit_whatever_the_writes(
        limit in 0_u64..200_000,
        writes in proptest::collection::vec(1_usize..65_536, 1..12),
    ) {
        let sent: u64 = writes.iter().map(|write| *write as u64).sum();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (received, ending, charged) = runtime.block_on(upload(Limit::Bytes(limit), writes));
        prop_assert_eq!(received, sent.min(limit));
        prop_assert_eq!(charged, received);
        let expected = if sent > limit { Reason::UploadLimitExceeded } else { Reason::Completed };
        prop_assert_eq!(ending, expected);
    }
}

#[test]
fn a_source_that_breaks_behind_its_bytes_is_not_taken_for_one_that_ended() {
    let pieces = [vec![1; 10], vec![2; 20]].into();
    let mut source = Choppy { pieces, fault: Some(io::ErrorKind::ConnectionReset), ..Choppy::default() };
    let mut sink = Choppy::default();
    let mut flow = Flow::default();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let outcome = flow.poll(&mut cx, &mut source, &mut sink);
    assert!(matches!(outcome, Poll::Ready(Err(Broken::Source(_)))), "{outcome:?}");
    assert_eq!(sink.taken.len(), 30);
    assert!(!sink.shut, "a sink that is told of an end takes what it has for the whole");
}

impl Source for Choppy {}
impl Source for DuplexStream {}

impl Downstream for DuplexStream {
    fn abort(&mut self) {}
}

#[expect(clippy::disallowed_methods, reason = "a socket to the test's own origin")]
async fn connect_to(address: std::net::SocketAddr) -> tokio::net::TcpStream {
    TcpSocket::new_v4().unwrap().connect(address).await.unwrap()
}

/// Sends `writes` through a relay; what the origin received, why the session ended, what it was charged.
async fn upload(limit: Limit, writes: Vec<usize>) -> (u64, Reason, u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = connect_to(address).await;
    let (mut origin, _) = listener.accept().await.unwrap();
    let receiving = tokio::spawn(async move {
        let mut received = 0_u64;
        let mut buffer = vec![0; 16 * 1024];
        // A reset ends it as well as an orderly close.
        while let Ok(read @ 1..) = origin.read(&mut buffer).await {
            received += read as u64;
        }
        received
    });
    let budgets = Budgets::in_memory(0).unwrap();
    let (device, agent) = (DeviceId::new("device-1").unwrap(), AgentName::new("agent").unwrap());
    let subject = BudgetSubject {
        device: &device,
        agent: &agent,
        issued_at: 0,
        expires_at: 1_000,
        manifest_limit: Limit::Unlimited,
        rule: None,
        session_limit: limit,
    };
    let meter = Arc::new(budgets.meter(&subject, 1).unwrap());
    let registry = Arc::new(Registry::default());
    let guard = registry.enter(Kind::Tunnel, races::entry());
    let session = Arc::clone(guard.session());
    let mut egress = Egress::new(socket, Arc::clone(&session), meter);
    let (mut device_side, mut downstream) = tokio::io::duplex(64 * 1024);
    let sending = tokio::spawn(async move {
        for size in writes {
            if device_side.write_all(&vec![7; size]).await.is_err() {
                return;
            }
        }
        let _aborted = device_side.shutdown().await;
    });
    let destination = Destination::parse_authority(b"origin.test:9000").unwrap();
    let opening = Opening {
        expectation: TlsExpectation::None,
        destination: &destination,
        first_flight: Duration::from_secs(5),
    };
    let ending = run(&session, &mut downstream, &mut egress, opening, Bytes::new()).await;
    drop((downstream, egress));
    sending.await.unwrap();
    (receiving.await.unwrap(), ending, session.uploaded())
}
