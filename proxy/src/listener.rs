//! Who may knock? Accepts device connections under a cap and hands each to a task of its own.
//!
//! Accepting never stops the rest: when descriptors run out it backs off for a moment, says so once in a while, and goes
//! on by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use config::Reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::gateway::Gateway;
use crate::{handshake, http1, http2, proxy_protocol};

/// How long accepting rests after a failure.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts connections until the gateway drains.
pub async fn accept(gateway: Arc<Gateway>, listener: TcpListener) {
    let mut failures = 0_u64;
    let mut drain_begun = std::pin::pin!(gateway.drain_begun());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drain_begun => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                failures = 0;
                admit(&gateway, socket, from);
            }
            Err(error) => {
                gateway.metrics.accept_faults.inc();
                if failures.is_multiple_of(100) {
                    tracing::error!(%error, "cannot accept; backing off");
                }
                failures += 1;
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// Whether an accept error speaks of the connection that was to be accepted and not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn admit(gateway: &Arc<Gateway>, socket: TcpStream, from: SocketAddr) {
    let Ok(place) = Arc::clone(&gateway.connections).try_acquire_owned() else {
        gateway.metrics.turned_away.with_label_values(&[Reason::ConnectionLimitReached.as_str()]).inc();
        return;
    };
    gateway.metrics.accepted.inc();
    tokio::spawn(serve(Arc::clone(gateway), socket, from, place));
}

async fn serve(gateway: Arc<Gateway>, socket: TcpStream, from: SocketAddr, place: OwnedSemaphorePermit) {
    let Some(connection) = Box::pin(greet(&gateway, socket, from)).await else { return };
    if connection.http2 {
        Box::pin(http2::serve(gateway, connection)).await;
        drop(place);
    } else {
        // The connection may become a tunnel, which outlives this task: its place goes along.
        Box::pin(http1::serve(gateway, connection, place)).await;
    }
}

/// PROXY protocol and TLS.
async fn greet(
    gateway: &Arc<Gateway>,
    socket: TcpStream,
    from: SocketAddr,
) -> Option<handshake::DeviceConnection> {
    // Small writes of the relay must not wait for acknowledgements. Fails only on a dead socket.
    let _dead = socket.set_nodelay(true);
    let (socket, from) = match proxy_protocol::read(gateway, socket, from).await {
        Ok(known) => known,
        Err(fault) => {
            gateway.metrics.turned_away.with_label_values(&["proxy_protocol"]).inc();
            tracing::warn!(%from, %fault, "connection turned away");
            return None;
        }
    };
    handshake::shake(gateway, socket, from).await
}
