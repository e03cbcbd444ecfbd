//! How does a client reach a proxy? TCP, and TLS over it unless the proxy has none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Context as _;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::dial;
use crate::subject::{Hop, Subject};

/// A connection to a proxy, over which nothing has been asked yet.
#[derive(Debug)]
pub(crate) enum Link {
    /// After a handshake.
    Tls(Box<TlsStream<TcpStream>>),
    /// As it is.
    Plain(TcpStream),
}

impl Link {
    /// Connects; `number` picks the source address.
    ///
    /// # Errors
    /// At which step.
    pub(crate) async fn to(subject: &Subject, number: usize) -> anyhow::Result<Self> {
        let stream = dial(subject.address, number).await.context("reaching the proxy")?;
        match &subject.hop {
            Hop::Plain => Ok(Self::Plain(stream)),
            Hop::Tls { server_name, config } => {
                let connector = TlsConnector::from(config.clone());
                let connected = connector.connect(server_name.clone(), stream).await;
                Ok(Self::Tls(Box::new(connected.context("the TLS handshake")?)))
            }
        }
    }

    /// Whether an earlier session was resumed in the handshake.
    pub(crate) fn is_resumed(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            Self::Plain(_) => false,
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
