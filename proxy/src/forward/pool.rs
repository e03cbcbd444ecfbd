//! Upstream connections at rest, to be used again by the same device for the same destination.
//!
//! Built on `pingora-pool`, which bounds their number, ends the least recently used, and watches each one:
//! when the origin closes it, says anything unasked, or nobody wants it in time, it is dropped. Its groups
//! are 64-bit hashes; here every connection carries its whole key and is given out for that key only, so
//! two devices can never share one. Never opens a connection, and never lends one out: taking removes.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use config::{Destination, DeviceId, ManifestId};
use pingora_pool::{ConnectionMeta, ConnectionPool};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Mutex;

/// For whom, and to where, a connection was opened. All of it has to be the same to use it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// The device it was opened for.
    pub device: DeviceId,
    /// The manifest that allowed it.
    pub manifest: ManifestId,
    /// The destination by name.
    pub destination: Destination,
    /// The screened address it is connected to.
    pub address: SocketAddr,
}

/// The upstream connections at rest.
pub struct Upstreams<U> {
    pool: Arc<ConnectionPool<Resting<U>>>,
    hasher: RandomState,
    next_id: AtomicI32,
    idle: Duration,
}

struct Resting<U> {
    key: UpstreamKey,
    slot: Arc<Mutex<Slot<U>>>,
}

impl<U: AsyncRead + Unpin + Send + 'static> Upstreams<U> {
    /// Room for `size` connections, each kept for `idle` at most.
    #[must_use]
    pub fn new(size: usize, idle: Duration) -> Self {
        let pool = Arc::new(ConnectionPool::new(size));
        Self { pool, hasher: RandomState::new(), next_id: AtomicI32::new(0), idle }
    }

    /// A connection for this key that still looks alive, if there is one.
    pub async fn take(&self, key: &UpstreamKey) -> Option<U> {
        let group = self.hasher.hash_one(key);
        while let Some(resting) = self.pool.get(&group) {
            // The watcher lets go of the slot as soon as it hears of the taking.
            let upstream = resting.slot.lock().await.take_quiet();
            if resting.key == *key && upstream.is_some() {
                return upstream;
            }
        }
        None
    }

    /// Puts a connection to rest. Must be called within a Tokio runtime: a task watches it, no longer than
    /// the connection stays here.
    pub fn put(&self, key: UpstreamKey, upstream: U) {
        let group = self.hasher.hash_one(&key);
        let meta = ConnectionMeta::new(group, self.next_id.fetch_add(1, Ordering::Relaxed));
        let slot = Arc::new(Mutex::new(Slot(Some(upstream))));
        let Ok(watched) = Arc::clone(&slot).try_lock_owned() else {
            return;
        };
        let (evicted, taken) = self.pool.put(&meta, Resting { key, slot });
        let (pool, idle) = (Arc::clone(&self.pool), self.idle);
        tokio::spawn(async move { pool.idle_poll(watched, &meta, Some(idle), evicted, taken).await });
    }
}

/// A connection at rest. Anything that can be read from it (data, the end, an error) spoils it: so it is
/// dropped on the spot, and a taker that comes in the same moment finds nothing.
struct Slot<U>(Option<U>);

impl<U: AsyncRead + Unpin> Slot<U> {
    fn take_quiet(&mut self) -> Option<U> {
        let mut upstream = self.0.take()?;
        is_quiet(&mut upstream).then_some(upstream)
    }
}

/// Whether nothing can be read from a connection: no data, no end, no error.
pub(super) fn is_quiet<U: AsyncRead + Unpin>(upstream: &mut U) -> bool {
    let mut byte = [0];
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(upstream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}

impl<U: AsyncRead + Unpin> AsyncRead for Slot<U> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(upstream) = &mut self.0 else {
            return Poll::Ready(Ok(()));
        };
        let mut byte = [0];
        match Pin::new(upstream).poll_read(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.0 = None;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<U> std::fmt::Debug for Upstreams<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstreams").field("idle", &self.idle).finish_non_exhaustive()
    }
}
