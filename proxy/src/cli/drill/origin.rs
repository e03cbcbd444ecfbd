//! The origin of a drill: when did the last byte of each tunnel arrive?
//!
//! Each connection begins with the number of its tunnel, four bytes. Nothing is answered, nothing is kept but times.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

/// A listening origin.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    started: Instant,
    /// Of each tunnel, when its last byte arrived, in microseconds since the start; 0 for never.
    last: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Origin {
    pub(super) async fn listen(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen { started: Instant::now(), last: Mutex::default() });
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, seen })
    }

    /// The moment from which times are counted.
    pub(super) fn started(&self) -> Instant {
        self.seen.started
    }

    /// When the last byte of this tunnel arrived, since the start.
    pub(super) fn last(&self, tunnel: usize) -> Option<Duration> {
        let last = self.seen.of(tunnel).map_or(0, |last| last.load(Ordering::Acquire));
        (last > 0).then(|| Duration::from_micros(last))
    }

    /// Makes room for one more tunnel.
    pub(super) fn expect(&self) {
        self.seen.all().push(Arc::default());
    }
}

impl Seen {
    fn of(&self, tunnel: usize) -> Option<Arc<AtomicU64>> {
        self.all().get(tunnel).cloned()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Arc<AtomicU64>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let Ok(number) = stream.read_u32().await else { return };
    let Some(last) = usize::try_from(number).ok().and_then(|tunnel| seen.of(tunnel)) else { return };
    let mut bytes = [0; 512];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
        let since = u64::try_from(seen.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        last.store(since.max(1), Ordering::Release);
    }
}
