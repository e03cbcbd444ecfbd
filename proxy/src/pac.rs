//! Which proxy does a browser or an operating system use? The PAC file and the small listener that serves it.
//!
//! One file, always the same words: everything goes to the gateway, over TLS. There is no `DIRECT` in it, not even as a
//! last resort, so that a gateway that cannot be reached means no traffic instead of unwatched traffic. The file names
//! the gateway and holds nothing else, so anybody may read it: no client certificate, no host check.
//!
//! Relies on [`config::Destination`] for the gateway's name being harmless inside a script, and encodes it all the same.
//! Never opens a file, never reads a request further than its first line needs, never answers anything but `/proxy.pac`.

mod exchange;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use config::Destination;
use rustls::ServerConfig;

pub use serve::serve;

/// What the PAC listener serves; parts of it can be replaced while it does.
#[derive(Debug)]
pub struct Pac {
    file: ArcSwap<Bytes>,
    tls: ArcSwapOption<ServerConfig>,
}

impl Pac {
    /// A PAC that sends everything to `proxy`, served over TLS when there is a configuration for it.
    #[must_use]
    pub fn new(proxy: &Destination, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { file: ArcSwap::from_pointee(file(proxy)), tls: ArcSwapOption::new(tls) }
    }

    /// From the next connection on, names `proxy` and presents what `tls` says.
    pub fn replace(&self, proxy: &Destination, tls: Option<Arc<ServerConfig>>) {
        self.file.store(Arc::new(file(proxy)));
        self.tls.store(tls);
    }
}

/// The PAC file that sends everything to `proxy`.
///
/// ECMAScript 3, since some systems still evaluate the file with an engine of that age. The host is the only argument it
/// could look at, and it does not: what may be reached is the manifest's to say, at the gateway.
#[must_use]
pub fn file(proxy: &Destination) -> Bytes {
    let route = serde_json::Value::from(format!("HTTPS {proxy}"));
    Bytes::from(format!("function FindProxyForURL(url, host) {{\n  return {route};\n}}\n"))
}
