//! Dialling on loopback: the race, the order, the second look at both ends.

use std::net::SocketAddr;
use std::time::Duration;

use config::Reason;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{DialFault, STAGGER, alternating, check_ends, fault_of, race};
use crate::resolve::ScreenedAddrs;
use crate::screen::{EgressAddr, Screen, ScreenRules};

fn screen() -> Screen {
    let internal = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    Screen::new(ScreenRules { internal, ..ScreenRules::default() }).unwrap()
}

fn admitted(addresses: &[SocketAddr]) -> ScreenedAddrs {
    let screen = screen();
    let admitted = addresses.iter().map(|addr| screen.admit(*addr).unwrap());
    ScreenedAddrs::new(admitted.collect()).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// An address nobody listens on: bound, so that nobody else takes it.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// An address that never answers: its queue of connections is full.
struct Silent {
    _listener: Socket,
    _queued: Vec<Socket>,
    addr: SocketAddr,
}

fn silent() -> Silent {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let queued = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _in_progress = socket.connect(&addr.into());
        socket
    });
    Silent { _queued: queued.collect(), _listener: listener, addr }
}

#[tokio::test]
async fn a_screened_address_is_connected_to_with_its_options_set() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stream = race(alternating(&admitted(&[addr])), soon(), STAGGER).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);
    assert!(stream.nodelay().unwrap());
    assert!(SockRef::from(&stream).keepalive().unwrap());
    #[cfg(target_os = "linux")]
    assert!(SockRef::from(&stream).tcp_user_timeout().unwrap().is_some());
}

#[tokio::test]
async fn an_address_that_refuses_gives_way_to_the_next_at_once() {
    let (_kept, refused) = refusing();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let never = Duration::from_secs(3600);
    let stream = race(alternating(&admitted(&[refused, addr])), soon(), never).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);
}

#[tokio::test]
async fn an_address_that_is_silent_gives_way_to_the_next_after_a_moment() {
    let silent = silent();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stream = race(alternating(&admitted(&[silent.addr, addr])), soon(), STAGGER).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);
}

#[tokio::test]
async fn faults_are_told_apart() {
    let (_kept, refused) = refusing();
    let outcome = race(alternating(&admitted(&[refused])), soon(), STAGGER).await;
    assert_eq!(outcome.unwrap_err(), DialFault::Refused);

    let silent = silent();
    let in_a_moment = Instant::now() + Duration::from_millis(50);
    let outcome = race(alternating(&admitted(&[silent.addr])), in_a_moment, STAGGER).await;
    assert_eq!(outcome.unwrap_err(), DialFault::TimedOut);

    for (fault, reason) in [
        (DialFault::Refused, Reason::ConnectionRefused),
        (DialFault::TimedOut, Reason::ConnectionTimeout),
        (DialFault::Failed, Reason::ConnectionFailed),
        (DialFault::Exhausted, Reason::InternalFault),
        (DialFault::Strayed, Reason::AddressProhibited),
    ] {
        assert_eq!(fault.reason(), reason);
    }
    for (errno, fault) in [
        (rustix::io::Errno::MFILE, DialFault::Exhausted),
        (rustix::io::Errno::CONNREFUSED, DialFault::Refused),
        (rustix::io::Errno::TIMEDOUT, DialFault::TimedOut),
        (rustix::io::Errno::NETUNREACH, DialFault::Failed),
        (rustix::io::Errno::ADDRNOTAVAIL, DialFault::Failed),
    ] {
        assert_eq!(fault_of(&errno.into()), fault, "{errno}");
    }
}

#[test]
fn families_take_turns_beginning_with_the_first_of_the_answer() {
    let addr = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let (a, b, c) = (addr("1.1.1.1:1"), addr("1.1.1.2:1"), addr("1.1.1.3:1"));
    let (x, y) = (addr("[2606:4700::1]:1"), addr("[2606:4700::2]:1"));
    for (answer, order) in [
        (vec![a, b, c, x, y], vec![a, x, b, y, c]),
        (vec![x, y, a, b, c], vec![x, a, y, b, c]),
        (vec![a, b], vec![a, b]),
        (vec![y, x], vec![y, x]),
    ] {
        let dialled: Vec<_> =
            alternating(&admitted(&answer)).into_iter().map(EgressAddr::socket_addr).collect();
        assert_eq!(dialled, order, "nothing is dialled that was not screened");
    }
}

#[test]
fn a_connection_that_ended_elsewhere_or_at_home_is_dropped() {
    let addr = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let (public, loopback) = (addr("93.184.215.14:443"), addr("127.0.0.1:443"));
    for (to, local, peer, expected) in [
        (public, addr("10.0.0.5:40000"), public, Ok(())),
        (public, addr("10.0.0.5:40000"), addr("93.184.215.15:443"), Err(DialFault::Strayed)),
        (public, addr("10.0.0.5:40000"), addr("93.184.215.14:80"), Err(DialFault::Strayed)),
        (public, addr("93.184.215.14:40000"), public, Err(DialFault::Strayed)),
        (loopback, addr("127.0.0.1:40000"), loopback, Ok(())),
        (loopback, loopback, loopback, Err(DialFault::Refused)),
    ] {
        let to = screen().admit(to).unwrap();
        assert_eq!(check_ends(to, local, peer), expected, "{to} from {local} to {peer}");
    }
}
