//! A response written to an HTTP/1 downstream (RFC 9112).
//!
//! Lengths are told by `Content-Length` where known, else by chunks, and to HTTP/1.0 by closing. Never
//! reads; never closes: whether the connection can go on is the session's to ask.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::answer::{Answer, AnswerBody, AnswerHead};
use crate::request::Protocol;

/// Bytes that are gathered for one write at most.
const GATHERED: usize = 16 * 1024;

/// The response to one HTTP/1 request.
#[derive(Debug)]
pub struct Http1Answer<'a, W> {
    writer: &'a mut W,
    protocol: Protocol,
    persistent: bool,
    begun: bool,
    chunked: bool,
    /// What waits to be written.
    scratch: BytesMut,
    unflushed: bool,
    written: u64,
}

impl<'a, W: AsyncWrite + Unpin + Send> Http1Answer<'a, W> {
    /// The response to a request of this protocol; `persistent` is what the request asked for.
    pub fn new(writer: &'a mut W, protocol: Protocol, persistent: bool) -> Self {
        let scratch = BytesMut::new();
        Self {
            writer,
            protocol,
            persistent,
            begun: false,
            chunked: false,
            scratch,
            unflushed: false,
            written: 0,
        }
    }

    /// Whether the connection may carry another request, as far as this response is concerned.
    #[must_use]
    pub fn persistent(&self) -> bool {
        self.persistent
    }

    /// Bytes written to the downstream, framing included.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    fn put_head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.scratch.put_slice(b"HTTP/1.1 ");
        self.scratch.put_slice(status.as_str().as_bytes());
        self.scratch.put_u8(b' ');
        self.scratch.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        self.scratch.put_slice(b"\r\n");
        for (name, value) in headers {
            self.put_field(name.as_str(), value.as_bytes());
        }
    }

    fn put_field(&mut self, name: &str, value: &[u8]) {
        self.scratch.put_slice(name.as_bytes());
        self.scratch.put_slice(b": ");
        self.scratch.put_slice(value);
        self.scratch.put_slice(b"\r\n");
    }

    fn put_framing(&mut self, body: AnswerBody) {
        match body {
            AnswerBody::Omitted(None) => {}
            AnswerBody::Omitted(Some(length)) | AnswerBody::Sized(length) => {
                self.put_field("content-length", length.to_string().as_bytes());
            }
            AnswerBody::Unknown if self.protocol == Protocol::Http10 => self.persistent = false,
            AnswerBody::Unknown => {
                self.chunked = true;
                self.put_field("transfer-encoding", b"chunked");
            }
        }
        match (self.persistent, self.protocol) {
            (false, _) => self.put_field("connection", b"close"),
            (true, Protocol::Http10) => self.put_field("connection", b"keep-alive"),
            (true, _) => {}
        }
        self.scratch.put_slice(b"\r\n");
    }

    async fn send(&mut self) -> io::Result<()> {
        self.write_gathered().await?;
        if std::mem::take(&mut self.unflushed) { self.writer.flush().await } else { Ok(()) }
    }

    async fn write_gathered(&mut self) -> io::Result<()> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        self.writer.write_all(&self.scratch).await?;
        self.count(self.scratch.len());
        self.scratch.clear();
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.unflushed = true;
        self.written = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

impl<W: AsyncWrite + Unpin + Send> Answer for Http1Answer<'_, W> {
    fn begun(&self) -> bool {
        self.begun
    }

    async fn interim(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
        if self.protocol == Protocol::Http10 {
            return Ok(());
        }
        self.put_head(status, headers);
        self.scratch.put_slice(b"\r\n");
        self.send().await
    }

    async fn begin(&mut self, head: AnswerHead) -> io::Result<()> {
        self.begun = true;
        self.put_head(head.status, &head.headers);
        self.put_framing(head.body);
        Ok(())
    }

    async fn switch(&mut self, headers: &HeaderMap) -> io::Result<()> {
        self.begun = true;
        self.persistent = false;
        self.put_head(StatusCode::SWITCHING_PROTOCOLS, headers);
        self.put_field("connection", b"upgrade");
        self.put_field("upgrade", b"websocket");
        self.scratch.put_slice(b"\r\n");
        self.send().await
    }

    async fn data(&mut self, data: Bytes) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if self.chunked {
            self.scratch.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        if self.scratch.len().saturating_add(data.len()) <= GATHERED {
            self.scratch.put_slice(&data);
        } else {
            self.write_gathered().await?;
            self.writer.write_all(&data).await?;
            self.count(data.len());
        }
        if self.chunked {
            self.scratch.put_slice(b"\r\n");
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.send().await
    }

    async fn end(&mut self) -> io::Result<()> {
        if self.chunked {
            self.scratch.put_slice(b"0\r\n\r\n");
        }
        self.send().await
    }
}
