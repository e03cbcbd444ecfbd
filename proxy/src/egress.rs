//! How do bytes leave? The only way to write to an origin, and what every such write has to pass.
//!
//! An [`Egress`] is a connected upstream socket that asks two things before each write: is the session's gate still
//! standing, and how much of the wish does its budget grant. It then hands exactly that much to the kernel and gives
//! back what the kernel did not take. Tunnels, plain HTTP and WebSocket all write through it, whatever protocol code
//! sits above, so limits and revocation are exact for all of them by one piece of code.
//!
//! The socket outlives a session only in the plain-HTTP pool, where it is charged to nobody and can write nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config::Reason;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::budget::{LeaseFault, Meter, Reserved};
use crate::registry::Session;
use crate::tunnel::{Filled, Source};

/// How long what was granted may take to leave the kernel before the socket is reset all the same.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Why a write was not made. Travels inside the [`io::Error`] that protocol code passes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("upstream write refused: {}", .0.as_str())]
pub struct EgressFault(Reason);

impl EgressFault {
    /// The fault inside an I/O error, wherever in its chain of sources it is.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(*fault);
            }
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
                None => error.source(),
            };
        }
        None
    }

    /// The reason in the project's own list.
    #[must_use]
    pub fn reason(self) -> Reason {
        self.0
    }

    fn into_error(self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, self)
    }
}

/// To whom writes are charged.
struct Charge {
    session: Arc<Session>,
    meter: Arc<Meter>,
    /// Under way while a write waits for its budget to be written down.
    lease: Option<LeaseWait>,
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charge({})", self.session.id)
    }
}

type LeaseWait = Pin<Box<dyn Future<Output = Result<(), LeaseFault>> + Send>>;

/// A connected upstream socket whose writes are metered and gated.
#[derive(Debug)]
pub struct Egress {
    socket: Arc<TcpStream>,
    charge: Arc<Mutex<Option<Charge>>>,
}

/// A hold on an [`Egress`] that protocol code owns: to charge it to another session, or to abort it.
#[derive(Debug, Clone)]
pub struct EgressHold {
    socket: Arc<TcpStream>,
    charge: Arc<Mutex<Option<Charge>>>,
}

impl Egress {
    /// Takes a dialled socket; what is written is charged to `session` by `meter`.
    #[must_use]
    pub fn new(socket: TcpStream, session: Arc<Session>, meter: Arc<Meter>) -> Self {
        let charge = Some(Charge::to(session, meter));
        Self { socket: Arc::new(socket), charge: Arc::new(Mutex::new(charge)) }
    }

    /// A hold that survives handing the egress to protocol code.
    #[must_use]
    pub fn hold(&self) -> EgressHold {
        EgressHold { socket: Arc::clone(&self.socket), charge: Arc::clone(&self.charge) }
    }

    /// Where the socket is connected to.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Makes the socket end with a reset when it is dropped.
    pub fn abort(&self) {
        reset_on_drop(&self.socket);
    }

    fn count_download(&self, bytes: usize) {
        if let Some(charge) = &*self.charge.lock().unwrap_or_else(PoisonError::into_inner) {
            charge.session.count_download(bytes);
        }
    }
}

impl EgressHold {
    /// Charges what is written from now on to `session`.
    pub fn charge(&self, session: Arc<Session>, meter: Arc<Meter>) {
        *self.charge.lock().unwrap_or_else(PoisonError::into_inner) = Some(Charge::to(session, meter));
    }

    /// Charges nobody: until the next [`Self::charge`] nothing can be written.
    pub fn release(&self) {
        *self.charge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes the socket end with a reset when protocol code drops it.
    pub fn abort(&self) {
        reset_on_drop(&self.socket);
    }

    /// Waits until the kernel has sent all that was written, for a few seconds at most.
    pub async fn settle(&self) {
        // With this mark the socket is writable only once nothing unsent is queued.
        if SockRef::from(&*self.socket).set_tcp_notsent_lowat(1).is_err() {
            return;
        }
        let sent = async {
            // Readiness is edge-triggered and may be remembered from before: ask until a fresh answer says so.
            loop {
                let ready = self.socket.writable().await;
                let fresh = self.socket.try_io(tokio::io::Interest::WRITABLE, || poll_writable(&self.socket));
                if ready.is_err() || fresh.is_ok() {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(SETTLE_WITHIN, sent).await;
    }
}

impl AsyncRead for Egress {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    self.count_download(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Source for Egress {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Filled> {
        loop {
            let read = match ready!(self.socket.poll_read_ready(cx)) {
                Ok(()) => self.socket.try_read(buffer),
                Err(error) => Err(error),
            };
            let filled = match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => Filled { bytes: 0, end: Some(Err(error)) },
                Ok(0) => Filled { bytes: 0, end: Some(Ok(())) },
                Ok(bytes) => Filled { bytes, end: None },
            };
            self.count_download(filled.bytes);
            return Poll::Ready(filled);
        }
    }
}

impl AsyncWrite for Egress {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut charge = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(charge) = charge.as_mut() else {
            return Poll::Ready(Err(EgressFault(Reason::InternalFault).into_error()));
        };
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match charge.write(&self.socket, buf, cx) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

impl Charge {
    fn to(session: Arc<Session>, meter: Arc<Meter>) -> Self {
        Self { session, meter, lease: None }
    }

    /// One write of at most `buf`, of at most what the budget grants, unless the gate has fallen.
    fn write(&mut self, socket: &TcpStream, buf: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let granted = loop {
            if let Some(lease) = &mut self.lease {
                let extended = ready!(lease.as_mut().poll(cx));
                self.lease = None;
                extended.map_err(|fault| EgressFault(fault.reason()).into_error())?;
            }
            match self.meter.reserve(buf.len()) {
                Reserved::Granted(granted) => break granted,
                Reserved::Spent(scope) => {
                    return Poll::Ready(Err(EgressFault(scope.reason()).into_error()));
                }
                Reserved::Busy => {
                    // Another session is inside a write of what is left; it settles within microseconds.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Reserved::NeedsLease => {
                    let meter = Arc::clone(&self.meter);
                    self.lease = Some(Box::pin(async move { meter.lease_extended().await }));
                }
            }
        };
        let Some(turn) = self.session.gate.enter_write() else {
            self.meter.settle(granted, 0);
            let reason = self.session.cut().unwrap_or(Reason::InternalFault);
            return Poll::Ready(Err(EgressFault(reason).into_error()));
        };
        let outcome = socket.try_write(buf.get(..granted).unwrap_or_default());
        drop(turn);
        let written = outcome.as_ref().map_or(0, |written| *written);
        self.meter.settle(granted, written);
        self.session.count_upload(written);
        Poll::Ready(outcome)
    }
}

fn poll_writable(socket: &TcpStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let ready = poll(&mut fds, Some(&rustix::event::Timespec::default()))?;
    if ready > 0 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
}

fn reset_on_drop(socket: &TcpStream) {
    // Fails only on a socket that is already gone, which is what was wanted.
    let _gone = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
