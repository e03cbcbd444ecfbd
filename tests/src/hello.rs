//! The first bytes of a TLS connection, made to measure: what the gateway inspects before anything goes upstream.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The ClientHello that rustls sends for this name, as one record.
///
/// # Panics
/// When the name is none.
#[must_use]
pub fn client_hello(name: &str) -> Vec<u8> {
    hello(name, true)
}

/// A ClientHello that names nobody.
#[must_use]
pub fn anonymous_client_hello() -> Vec<u8> {
    hello("nobody.test", false)
}

fn hello(name: &str, with_sni: bool) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are supported")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    tls.enable_sni = with_sni;
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    let mut connection = ClientConnection::new(Arc::new(tls), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a Vec takes everything");
    bytes
}

/// The same handshake message in records of `size` bytes each.
///
/// # Panics
/// When the bytes are not one record.
#[must_use]
pub fn in_records_of(hello: &[u8], size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in hello[5..].chunks(size) {
        records.extend_from_slice(&hello[..3]);
        records.extend_from_slice(&u16::try_from(piece.len()).expect("a short piece").to_be_bytes());
        records.extend_from_slice(piece);
    }
    records
}
