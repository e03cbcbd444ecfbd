//! A device: its credentials, and every way it can reach the gateway.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::answer::Answer;
use crate::http2::Http2;
use crate::pki::Credentials;
use crate::tunnel::{Over, Tunnel};
use crate::wait::promptly;
use crate::wire::{Stream, Wire};

/// A device that knows the gateway's address and certificate.
#[derive(Debug, Clone)]
pub struct Device {
    /// What it proves itself with; `None` presents no certificate.
    pub credentials: Option<Arc<Credentials>>,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// What the gateway's certificate is checked against.
    pub roots: Arc<RootCertStore>,
    /// TLS versions offered.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Sent in plain text before the TLS handshake, as a load balancer does.
    pub preamble: Vec<u8>,
    /// Keeps TLS sessions across connections.
    pub resumption: rustls::client::Resumption,
}

impl Device {
    /// The rustls configuration, offering these protocols by ALPN.
    ///
    /// # Panics
    /// When the credentials do not belong together.
    #[must_use]
    pub fn tls(&self, protocols: &[&str]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("the versions are supported")
            .with_root_certificates(Arc::clone(&self.roots));
        let mut tls = match &self.credentials {
            None => builder.with_no_client_auth(),
            Some(credentials) => builder
                .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
                .expect("the key is the certificate's"),
        };
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        tls.resumption = self.resumption.clone();
        tls
    }

    /// A TLS connection that offers these protocols by ALPN. In TLS 1.3 the gateway's verdict on the device comes
    /// behind the handshake: the first read tells.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn handshake(&self, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        use tokio::io::AsyncWriteExt;
        let mut tcp = dial(self.gateway).await?;
        tcp.write_all(&self.preamble).await?;
        self.handshake_over(tcp, protocols).await
    }

    /// The same over a stream that already exists.
    ///
    /// # Errors
    /// When the handshake fails.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn handshake_over<S: Stream>(&self, stream: S, protocols: &[&str]) -> io::Result<TlsStream<S>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(self.tls(protocols)));
        promptly("the TLS handshake ends", connector.connect(name, stream)).await
    }

    /// A connection for HTTP/1.1.
    ///
    /// # Panics
    /// When the gateway does not take the handshake.
    pub async fn wire(&self) -> Wire {
        self.try_wire().await.expect("the gateway takes the handshake")
    }

    /// A connection for HTTP/1.1.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn try_wire(&self) -> io::Result<Wire> {
        self.handshake(&["http/1.1"]).await.map(Wire::new)
    }

    /// A connection for HTTP/2.
    ///
    /// # Panics
    /// When the gateway does not take it.
    pub async fn http2(&self) -> Http2 {
        self.try_http2().await.expect("the gateway speaks HTTP/2")
    }

    /// A connection for HTTP/2.
    ///
    /// # Errors
    /// When the handshake fails or HTTP/2 is refused.
    ///
    /// # Panics
    /// When the gateway chooses another protocol.
    pub async fn try_http2(&self) -> io::Result<Http2> {
        let stream = self.handshake(&["h2"]).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the gateway chose h2");
        Http2::over(stream).await
    }

    /// Sends these bytes on a connection of their own and reads the answer.
    ///
    /// # Errors
    /// When the connection ends without one.
    pub async fn ask(&self, head: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.try_wire().await?.ask(head).await
    }

    /// Asks for a tunnel over HTTP/1.1: the tunnel, or the refusal.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn connect(&self, destination: &str) -> io::Result<Result<Tunnel, Answer>> {
        self.connect_with(destination, "").await
    }

    /// Asks for a tunnel with extra header lines, each with its CRLF.
    ///
    /// # Errors
    /// When the connection ends without an answer.
    pub async fn connect_with(&self, destination: &str, fields: &str) -> io::Result<Result<Tunnel, Answer>> {
        let mut wire = self.try_wire().await?;
        let answer = wire.ask(connect_head(destination, fields)).await?;
        Ok(if answer.status == 200 { Ok(Tunnel::Http1(wire)) } else { Err(answer) })
    }

    /// A tunnel over HTTP/1.1.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn tunnel(&self, destination: &str) -> Tunnel {
        self.connect(destination).await.expect("an answer").expect("the tunnel is allowed")
    }

    /// A tunnel over this HTTP version.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn tunnel_over(&self, over: Over, destination: &str) -> Tunnel {
        self.connect_over(over, destination).await.expect("an answer").expect("the tunnel is allowed")
    }

    /// Asks for a tunnel over this HTTP version: the tunnel, or the refusal.
    ///
    /// # Errors
    /// When the connection or the stream ends without an answer.
    pub async fn connect_over(&self, over: Over, destination: &str) -> io::Result<Result<Tunnel, Answer>> {
        match over {
            Over::Http1 => self.connect(destination).await,
            Over::Http2 => self.try_http2().await?.connect(destination).await,
        }
    }

    /// The refusal of a tunnel.
    ///
    /// # Panics
    /// When it is allowed.
    pub async fn refusal(&self, destination: &str) -> Answer {
        self.connect(destination).await.expect("an answer").expect_err("the tunnel is refused")
    }

    /// The same device without what it proved itself with.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { credentials: None, ..self.clone() }
    }

    /// The same device with other credentials.
    #[must_use]
    pub fn with(&self, credentials: Credentials) -> Self {
        Self { credentials: Some(Arc::new(credentials)), ..self.clone() }
    }

    /// Whether a connection of this device gets as far as an answer to a request.
    pub async fn is_admitted(&self) -> bool {
        self.ask("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n").await.is_ok()
    }
}

/// What a device offers by default.
pub static TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
/// What only some gateways take.
pub static TLS12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];

/// The head of a CONNECT with a proper `Host`.
#[must_use]
pub fn connect_head(destination: &str, fields: &str) -> String {
    format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{fields}\r\n")
}

/// A TCP connection to a listener on loopback.
///
/// # Errors
/// When nobody listens.
///
/// # Panics
/// When the connection takes too long.
#[expect(clippy::disallowed_methods, reason = "a test reaches the gateway as a device does")]
pub async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = promptly("the connection is accepted", TcpStream::connect(to)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
