//! How is a listener bound, before anything else is done?

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds for a listener before they are accepted.
const BACKLOG: i32 = 4096;

/// Binds an address; `setting` is what names it. Non-blocking, so that a runtime can take it over.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(setting: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let attempt = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // One family a socket: `[::]` beside `0.0.0.0` must not clash, and addresses in events stay plain.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket.into())
    };
    attempt().with_context(|| format!("{setting} = {address} cannot be bound"))
}
