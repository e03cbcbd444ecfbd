//! A byte stream with a buffer in front of its reading side: raw heads out, answers or bytes in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::answer::Answer;
use crate::tunnel::End;
use crate::wait::promptly;

/// Any stream a test talks over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream, and what was read from it but not yet asked for.
pub struct Wire {
    stream: Box<dyn Stream>,
    ahead: Vec<u8>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}

impl Wire {
    /// Takes a stream over.
    #[must_use]
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new() }
    }

    /// Writes all bytes and flushes.
    ///
    /// # Errors
    /// When the other side has gone.
    ///
    /// # Panics
    /// When the other side does not take them in time.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        promptly("the peer takes the bytes", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Reads one answer: its head, and its body as far as the head delimits one.
    ///
    /// # Errors
    /// When the stream ends before the answer does.
    ///
    /// # Panics
    /// When what arrives is no answer, or nothing does.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.until(b"\r\n\r\n").await?;
        let mut answer = Answer::read_head(&head);
        let chunked = answer.field("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
        let length = answer.field("content-length").map(|length| length.parse().expect("a length"));
        answer.body = match (chunked, length) {
            (true, _) => self.chunks().await?,
            (false, Some(length)) => self.exactly(length).await?,
            (false, None) => Vec::new(),
        };
        Ok(answer)
    }

    /// Sends a head and reads the answer to it.
    ///
    /// # Errors
    /// When the stream ends before the answer does.
    ///
    /// # Panics
    /// When what arrives is no answer, or nothing does.
    pub async fn ask(&mut self, head: impl AsRef<[u8]>) -> io::Result<Answer> {
        // A refusal may come before the whole head was taken; the answer counts then, not the failed write.
        let sent = self.send(head).await;
        match (self.answer().await, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(fault)) | (Err(fault), Ok(())) => Err(fault),
        }
    }

    /// Whatever arrives next; empty at the end.
    ///
    /// # Errors
    /// When the stream breaks.
    ///
    /// # Panics
    /// When nothing arrives in time.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            let mut buffer = vec![0; 64 * 1024];
            let read = promptly("bytes arrive", self.stream.read(&mut buffer)).await?;
            buffer.truncate(read);
            return Ok(buffer);
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Exactly `count` bytes.
    ///
    /// # Errors
    /// When the stream ends before.
    ///
    /// # Panics
    /// When they do not arrive in time.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < count {
            self.read_on().await?;
        }
        let rest = self.ahead.split_off(count);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// Everything up to and with `mark`.
    ///
    /// # Errors
    /// When the stream ends before.
    ///
    /// # Panics
    /// When it does not arrive in time.
    pub async fn until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(mark.len()).position(|window| window == mark) {
                return self.exactly(at + mark.len()).await;
            }
            self.read_on().await?;
        }
    }

    /// As [`Wire::until`], but the first byte may take as long as it likes: for an origin that keeps a connection.
    pub(crate) async fn until_idly(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.ahead = self.some_idly().await?;
        }
        self.until(mark).await
    }

    /// As [`Wire::some`], without a bound.
    pub(crate) async fn some_idly(&mut self) -> io::Result<Vec<u8>> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        let mut buffer = vec![0; 64 * 1024];
        let read = self.stream.read(&mut buffer).await?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// Everything that still comes, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        loop {
            match self.some().await {
                Ok(bytes) if bytes.is_empty() => return (all, End::Finished),
                Ok(bytes) => all.extend(bytes),
                Err(_) => return (all, End::Broken),
            }
        }
    }

    /// Ends the writing side.
    ///
    /// # Errors
    /// When the stream is already broken.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    async fn read_on(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let read = promptly("bytes arrive", self.stream.read(&mut buffer)).await?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the stream ended behind {:?}", String::from_utf8_lossy(&self.ahead)),
            ));
        }
        self.ahead.extend_from_slice(&buffer[..read]);
        Ok(())
    }

    pub(crate) async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            let size = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
            body.extend(self.exactly(size).await?);
            self.until(b"\r\n").await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.ahead.len().min(into.remaining());
        into.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
