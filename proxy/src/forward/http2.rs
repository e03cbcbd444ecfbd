//! Body and response of one HTTP/2 stream.
//!
//! Flow control passes the origin's pace on to the device and the device's to the origin: a window is given
//! back only for what has been taken. Never touches the connection, only its stream; dropping an unfinished
//! [`Http2Answer`] resets the stream.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::answer::{Answer, AnswerBody, AnswerHead};
use super::fault::BodyFault;
use super::intake::Intake;

/// The request body of a stream. Trailers are dropped.
#[derive(Debug)]
pub struct Http2Intake<'a> {
    stream: &'a mut RecvStream,
    unreleased: usize,
}

impl<'a> Http2Intake<'a> {
    /// The body of this stream.
    pub fn new(stream: &'a mut RecvStream) -> Self {
        Self { stream, unreleased: 0 }
    }
}

impl Intake for Http2Intake<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let taken = std::mem::take(&mut self.unreleased);
        self.stream.flow_control().release_capacity(taken).map_err(into_body_fault)?;
        loop {
            match self.stream.data().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(into_body_fault(error)),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unreleased = data.len();
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn into_body_fault(error: h2::Error) -> BodyFault {
    BodyFault::Downstream(io::Error::other(error))
}

/// The response on a stream.
#[derive(Debug)]
pub struct Http2Answer {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    begun: bool,
    written: u64,
}

impl Http2Answer {
    /// The response to be sent here.
    #[must_use]
    pub fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond, stream: None, begun: false, written: 0 }
    }

    /// Bytes of response bodies written to the downstream.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the stream at once, so that nobody takes what was sent for the whole.
    pub fn reset(&mut self, reason: h2::Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Gives the stream back to answer it otherwise. Only before the answer has begun is that possible.
    #[must_use]
    pub fn into_respond(self) -> Option<SendResponse<Bytes>> {
        (!self.begun).then_some(self.respond)
    }
}

impl Answer for Http2Answer {
    fn begun(&self) -> bool {
        self.begun
    }

    async fn interim(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        self.respond.send_informational(response).map_err(io::Error::other)
    }

    async fn begin(&mut self, head: AnswerHead) -> io::Result<()> {
        self.begun = true;
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let (length, ended) = match head.body {
            AnswerBody::Omitted(length) => (length, true),
            AnswerBody::Sized(length) => (Some(length), length == 0),
            AnswerBody::Unknown => (None, false),
        };
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let stream = self.respond.send_response(response, ended).map_err(io::Error::other)?;
        self.stream = (!ended).then_some(stream);
        Ok(())
    }

    /// Extended CONNECT is never offered, so no HTTP/2 request can ask for a switch.
    async fn switch(&mut self, _headers: &HeaderMap) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    async fn data(&mut self, mut data: Bytes) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return if data.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
        };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let granted = match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(granted) => granted.map_err(io::Error::other)?,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            let piece = data.split_to(granted.min(data.len()));
            self.written = self.written.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if !piece.is_empty() {
                stream.send_data(piece, false).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// Frames never wait: the connection's own task writes them.
    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn end(&mut self) -> io::Result<()> {
        match self.stream.take() {
            Some(mut stream) => stream.send_data(Bytes::new(), true).map_err(io::Error::other),
            None => Ok(()),
        }
    }
}
