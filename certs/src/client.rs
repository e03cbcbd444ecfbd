//! The TLS configuration of a client that knows its server's authorities: a gateway at its control plane, a command at the API.
//!
//! TLS 1.3 alone, roots of its own (never the system's by accident), no resumption, no early data, no key log. It opens no
//! socket.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{NoKeyLog, RootCertStore, version};

use crate::document::Document;
use crate::server::ServerCertificate;
use crate::trust::TrustFault;

/// Why a client cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The authorities cannot be read, or hold none.
    #[error(transparent)]
    Authorities(#[from] TrustFault),
    /// rustls refuses the combination.
    #[error("the tls client cannot be configured: {0}")]
    Tls(rustls::Error),
}

/// A client that believes the authorities of `roots`, shows `identity` if there is one, and offers `alpn`.
///
/// # Errors
/// [`ClientFault`], naming the document.
pub fn client_config(
    roots: &Document,
    identity: Option<&ServerCertificate>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, ClientFault> {
    let mut store = RootCertStore::empty();
    for authority in roots.certificates()? {
        store.add(authority).map_err(|fault| TrustFault::Unreadable {
            origin: roots.origin.clone(),
            why: format!("it is no authority: {fault}"),
        })?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(ClientFault::Tls)?
        .with_root_certificates(store);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(certificate) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certificate.key()))),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.key_log = Arc::new(NoKeyLog {});
    Ok(Arc::new(config))
}
