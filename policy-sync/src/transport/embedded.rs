//! The transport of a control plane that stands alone: its log in a file of its own, one TLS connection from every gateway.
//!
//! [`Store`](store) is the file; [`serve`] the control plane's end of the connections; [`link`] a gateway's end; `frame` how both
//! write what they say. A frame is put into the queue of every gateway before anything else happens; one that cannot keep up
//! is disconnected and comes back, and delays nobody.
//!
//! Relies on redb to write durably, and on the TLS configurations it is given to say who a gateway is.

mod frame;
pub mod link;
pub mod serve;
mod store;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::{Notify, mpsc};

use crate::log::Sealed;
use crate::transport::{AppendFault, CellVersion, Frame, Transport, TransportFault};
use store::Store;

pub use store::StoreFault;

/// How many frames may wait for one gateway.
const QUEUE: usize = 1024;
/// How many bytes may wait for one gateway.
const QUEUED_BYTES: usize = 16 << 20;

/// The control plane's end.
pub struct Embedded {
    store: Store,
    listeners: Mutex<HashMap<u64, Listener>>,
    next: AtomicU64,
    metrics: Metrics,
}

/// A gateway that listens.
struct Listener {
    gateway: Arc<str>,
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    /// Has the connection ended at once.
    cut: Arc<Notify>,
}

struct Metrics {
    overflows: IntCounter,
    turned_away: IntCounterVec,
}

impl Embedded {
    /// Opens the log in this directory, which is made when it is missing.
    ///
    /// # Errors
    /// [`StoreFault`] when the file cannot be used, is damaged, or another process has it, or the registry knows the metrics.
    pub fn open(directory: &Path, registry: &Registry) -> Result<Arc<Self>, StoreFault> {
        Ok(Arc::new(Self {
            store: Store::open(directory)?,
            listeners: Mutex::default(),
            next: AtomicU64::new(1),
            metrics: Metrics::register(registry)?,
        }))
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_connection(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Listener {
    /// Puts a frame into the queue; false when there is no room.
    fn take(&self, frame: Bytes) -> bool {
        let length = frame.len();
        if self.waiting.fetch_add(length, Ordering::Relaxed) > QUEUED_BYTES {
            return false;
        }
        self.queue.try_send(frame).is_ok()
    }
}

impl Metrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let turned_away = Opts::new(
            "portcullis_control_gateways_turned_away_total",
            "Connections of gateways that were turned away, by reason.",
        );
        let metrics = Self {
            overflows: IntCounter::new(
                "portcullis_control_gateway_overflows_total",
                "Gateways disconnected because they could not keep up.",
            )?,
            turned_away: IntCounterVec::new(turned_away, &["reason"])?,
        };
        registry.register(Box::new(metrics.overflows.clone()))?;
        registry.register(Box::new(metrics.turned_away.clone()))?;
        Ok(metrics)
    }
}

impl Transport for Embedded {
    fn read(&self, after: u64, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        Box::pin(self.store.read(after, most))
    }

    fn append<'a>(&'a self, record: &'a Sealed) -> BoxFuture<'a, Result<(), AppendFault>> {
        self.append_all(std::slice::from_ref(record))
    }

    fn append_all<'a>(&'a self, records: &'a [Sealed]) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(self.store.append(records.to_vec()))
    }

    /// Never: nobody else has the file.
    fn grown(&self, _after: u64) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        Box::pin(self.store.snapshot())
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        Box::pin(self.store.chunk(*digest))
    }

    fn keep_chunk<'a>(
        &'a self,
        digest: &'a [u8; 32],
        chunk: Bytes,
    ) -> BoxFuture<'a, Result<(), TransportFault>> {
        Box::pin(self.store.keep_chunk(*digest, chunk))
    }

    fn keep_snapshot(&self, head: Bytes, keep_after: u64) -> BoxFuture<'_, Result<(), TransportFault>> {
        Box::pin(self.store.keep_snapshot(head, keep_after))
    }

    fn cell<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<(CellVersion, Bytes)>, TransportFault>> {
        Box::pin(self.store.cell(key.to_owned()))
    }

    fn cells<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, TransportFault>> {
        Box::pin(self.store.cells(prefix.to_owned()))
    }

    fn set_cell<'a>(
        &'a self,
        key: &'a str,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(self.store.set_cell(key.to_owned(), expected, value))
    }

    fn broadcast(&self, frame: Frame) {
        // Written once for all; every queue holds the same bytes.
        let frame = frame::encode(&frame);
        self.listeners().retain(|_, listener| {
            let taken = listener.take(frame.clone());
            if !taken {
                self.metrics.overflows.inc();
                tracing::warn!(gateway = &*listener.gateway, "a gateway cannot keep up and is disconnected");
                listener.cut.notify_one();
            }
            taken
        });
    }
}

#[cfg(test)]
mod tests;
