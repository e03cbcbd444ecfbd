//! The upstream connection that a device's connection used last, kept at hand for its next request.
//!
//! Most requests on a connection go where the one before went. What is kept here belongs to one device's connection
//! and is taken back without a lock, a task or a timer; the pool ([`super::Upstreams`]) gets it when the next request
//! goes elsewhere or does not come soon. It is charged to nobody meanwhile, so nothing can be written. Never gives
//! out a connection under another key than it was kept under, or one that has closed or said something unasked.

use tokio::io::AsyncRead;

use super::pool::{UpstreamKey, Upstreams, is_quiet};

/// Room for one upstream connection.
#[derive(Debug)]
pub struct Kept<U>(Option<(UpstreamKey, U)>);

impl<U> Default for Kept<U> {
    fn default() -> Self {
        Self(None)
    }
}

impl<U: AsyncRead + Unpin + Send + 'static> Kept<U> {
    /// The connection, if it was kept under this key and still looks alive. One under another key stays.
    pub fn take(&mut self, key: &UpstreamKey) -> Option<U> {
        let (_, mut upstream) = self.0.take_if(|(kept, _)| kept == key)?;
        is_quiet(&mut upstream).then_some(upstream)
    }

    /// Keeps a connection; the one that was kept before goes to rest.
    pub fn put(&mut self, key: UpstreamKey, upstream: U, upstreams: &Upstreams<U>) {
        if let Some((key, upstream)) = self.0.replace((key, upstream)) {
            upstreams.put(key, upstream);
        }
    }

    /// Puts to rest what is kept, for any connection of the same device.
    pub fn rest(&mut self, upstreams: &Upstreams<U>) {
        if let Some((key, upstream)) = self.0.take() {
            upstreams.put(key, upstream);
        }
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
