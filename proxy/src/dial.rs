//! Dialling: the only place where a socket to a destination is opened.
//!
//! Takes a [`Permit`] and screened addresses, so neither the policy nor the screen can be skipped. Addresses are raced
//! as in RFC 8305: families alternate, the next attempt starts after 250 ms or as soon as one fails, the first
//! connection wins and the others are dropped before a byte is written.
//!
//! After connecting, both ends are looked at once more: the peer must be the very address that was screened, and a
//! connection that turns out to end at this machine is dropped unless the screen knew. Never resolves, never writes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use config::Reason;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::authorize::Permit;
use crate::resolve::ScreenedAddrs;
use crate::screen::EgressAddr;

/// Between two attempts (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// When the first probe goes out on a silent connection, and how often after that.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long sent data may stay unacknowledged. Also ends a connection whose peer takes nothing for so long, so it is not
/// shorter than the usual idle deadline.
const USER_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes that may wait in the kernel unsent: a destination that takes nothing holds no more memory than this and the
/// receiver's window, and a session that is cut leaves no more behind.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Why no connection came about. In order of how much they tell; of several attempts the most telling is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialFault {
    /// The network does not lead there, or the connection broke at once.
    #[error("the connection failed")]
    Failed,
    /// No attempt was answered in time.
    #[error("the connection was not answered in time")]
    TimedOut,
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// The gateway itself has no socket or port left.
    #[error("the gateway has no socket left")]
    Exhausted,
    /// The connection led back to the gateway, or elsewhere than to the screened address.
    #[error("the connection led to another address than the screened one")]
    Strayed,
}

/// Connects to the first of `addresses` that answers, within `within` for all of them together.
///
/// # Errors
/// [`DialFault`].
pub async fn dial(
    _permit: &Permit,
    addresses: &ScreenedAddrs,
    within: Duration,
) -> Result<TcpStream, DialFault> {
    race(alternating(addresses), Instant::now() + within, STAGGER).await
}

async fn race(
    mut waiting: VecDeque<EgressAddr>,
    deadline: Instant,
    stagger: Duration,
) -> Result<TcpStream, DialFault> {
    let mut attempts = FuturesUnordered::new();
    let mut most_telling = DialFault::Failed;
    let mut next_start = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(outcome) = attempts.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(fault) => {
                    most_telling = most_telling.max(fault);
                    next_start = Instant::now();
                }
            },
            () = sleep_until(deadline) => return Err(DialFault::TimedOut.max(most_telling)),
            () = sleep_until(next_start), if !waiting.is_empty() => {
                attempts.extend(waiting.pop_front().map(connect));
                next_start = Instant::now() + stagger;
            }
        }
        if attempts.is_empty() && waiting.is_empty() {
            return Err(most_telling);
        }
    }
}

/// The addresses, families taking turns, beginning with the family the answer begins with.
fn alternating(addresses: &ScreenedAddrs) -> VecDeque<EgressAddr> {
    let is_v4 = |addr: &EgressAddr| addr.socket_addr().is_ipv4();
    let (v4, v6): (VecDeque<_>, VecDeque<_>) = addresses.iter().partition(is_v4);
    let v4_first = addresses.iter().next().as_ref().is_some_and(is_v4);
    let (mut first, mut second) = if v4_first { (v4, v6) } else { (v6, v4) };
    let mut order = VecDeque::new();
    while !first.is_empty() || !second.is_empty() {
        order.extend(first.pop_front().into_iter().chain(second.pop_front()));
    }
    order
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the choke point: a permit and a screened address led here"
)]
async fn connect(to: EgressAddr) -> Result<TcpStream, DialFault> {
    let socket = prepared(to.socket_addr()).map_err(|error| fault_of(&error))?;
    let stream = socket.connect(to.socket_addr()).await.map_err(|error| fault_of(&error))?;
    let (local, peer) = ends_of(&stream).map_err(|error| fault_of(&error))?;
    check_ends(to, local, peer)?;
    Ok(stream)
}

fn prepared(to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    options.set_tcp_notsent_lowat(UNSENT)?;
    Ok(socket)
}

fn ends_of(stream: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    Ok((stream.local_addr()?, stream.peer_addr()?))
}

fn check_ends(to: EgressAddr, local: SocketAddr, peer: SocketAddr) -> Result<(), DialFault> {
    let screened = to.socket_addr();
    if (peer.ip(), peer.port()) != (screened.ip(), screened.port()) {
        return Err(DialFault::Strayed);
    }
    // Both ends alike is this machine. An address that an interface got after the screen last looked is noticed here.
    if local.ip() == peer.ip() && !to.is_own() {
        return Err(DialFault::Strayed);
    }
    // On loopback, a port that nobody listens on can be the very one this socket was given: it then talks to itself.
    if local == peer { Err(DialFault::Refused) } else { Ok(()) }
}

fn fault_of(error: &io::Error) -> DialFault {
    use io::ErrorKind;
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    match error.kind() {
        _ if error
            .raw_os_error()
            .is_some_and(|code| exhausted.iter().any(|errno| errno.raw_os_error() == code)) =>
        {
            DialFault::Exhausted
        }
        ErrorKind::ConnectionRefused => DialFault::Refused,
        ErrorKind::TimedOut => DialFault::TimedOut,
        _ => DialFault::Failed,
    }
}

impl DialFault {
    /// The word for it in answers and events.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Failed => Reason::ConnectionFailed,
            Self::TimedOut => Reason::ConnectionTimeout,
            Self::Refused => Reason::ConnectionRefused,
            Self::Exhausted => Reason::InternalFault,
            Self::Strayed => Reason::AddressProhibited,
        }
    }
}

#[cfg(test)]
mod tests;
