//! A listener whose queue is full: connections to it are neither accepted nor refused.

use std::collections::HashSet;
use std::net::SocketAddr;

use socket2::{Domain, SockAddr, Socket, Type};

/// How `/proc/net/tcp` calls a socket that has asked and was not answered.
const SYN_SENT: &str = "02";

/// Answers nobody for as long as it lives.
#[derive(Debug)]
pub struct Unanswering {
    address: SocketAddr,
    _listener: Socket,
    /// What keeps the queue full.
    fillers: Vec<Socket>,
}

impl Unanswering {
    /// Starts on 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port on loopback.
    #[must_use]
    pub fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a port");
        listener.listen(0).expect("a short queue");
        let address = listener.local_addr().expect("bound").as_socket().expect("an address");
        let filler = || {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("non-blocking");
            // In progress, for ever.
            let _ = filler.connect(&SockAddr::from(address));
            filler
        };
        Self { address, _listener: listener, fillers: (0..4).map(|_| filler()).collect() }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `origin.test:port`.
    #[must_use]
    pub fn destination(&self) -> String {
        format!("origin.test:{}", self.port())
    }

    /// The local ports of those who dial it now and wait for an answer.
    ///
    /// # Panics
    /// When the system does not list its sockets.
    #[must_use]
    pub fn dials(&self) -> HashSet<u16> {
        let own = self.fillers.iter().filter_map(|filler| filler.local_addr().ok()?.as_socket());
        let own: HashSet<u16> = own.map(|address| address.port()).collect();
        let here = format!("0100007F:{:04X}", self.port());
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its sockets");
        let waiting = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            match fields[..] {
                [_, local, remote, SYN_SENT] if remote == here => {
                    u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
                }
                _ => None,
            }
        });
        waiting.filter(|port| !own.contains(port)).collect()
    }
}
