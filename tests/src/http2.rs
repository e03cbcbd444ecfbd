//! The device side of an HTTP/2 connection: CONNECT streams, plain requests, and what ends them.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, Uri, Version};

use crate::answer::Answer;
use crate::tunnel::{self, Tunnel};
use crate::wait::promptly;
use crate::wire::Stream;

/// One HTTP/2 connection to the gateway.
pub struct Http2 {
    requests: SendRequest<Bytes>,
    driver: Arc<Driver>,
    ending: Arc<Mutex<Option<String>>>,
}

/// What moves a connection's frames; the connection closes when nobody holds it any more.
#[derive(Debug)]
pub struct Driver(tokio::task::JoinHandle<()>);

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http2 {
    /// Opens the connection over a stream whose TLS handshake chose `h2`.
    ///
    /// # Errors
    /// When the other side does not speak HTTP/2, or refuses.
    pub async fn over(stream: impl Stream + 'static) -> io::Result<Self> {
        let (requests, connection) = promptly(
            "the HTTP/2 preface is answered",
            h2::client::Builder::new()
                .initial_window_size(1 << 20)
                .initial_connection_window_size(1 << 20)
                .handshake(stream),
        )
        .await
        .map_err(io::Error::other)?;
        let ending = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&ending);
        let driver = tokio::spawn(async move {
            let outcome = match connection.await {
                Ok(()) => "closed".to_owned(),
                Err(fault) => fault.to_string(),
            };
            *noted.lock().expect("nobody panics with this lock") = Some(outcome);
        });
        Ok(Self { requests, driver: Arc::new(Driver(driver)), ending })
    }

    /// How the connection ended, once it has.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn ending(&self) -> Option<String> {
        self.ending.lock().expect("nobody panics with this lock").clone()
    }

    /// Sends a request head and returns the answer's head with both directions of the stream.
    ///
    /// # Errors
    /// When the stream or the connection is reset instead.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn request(
        &mut self,
        request: Request<()>,
        ended: bool,
    ) -> io::Result<(Response<()>, SendStream<Bytes>, RecvStream)> {
        std::future::poll_fn(|context| self.requests.poll_ready(context)).await.map_err(io::Error::other)?;
        let (response, out) = self.requests.send_request(request, ended).map_err(io::Error::other)?;
        let response = promptly("the stream is answered", response).await.map_err(io::Error::other)?;
        let (parts, incoming) = response.into_parts();
        Ok((Response::from_parts(parts, ()), out, incoming))
    }

    /// Asks for a tunnel: the tunnel, or the refusal.
    ///
    /// # Errors
    /// When the stream or the connection is reset instead of answered.
    pub async fn connect(&mut self, destination: &str) -> io::Result<Result<Tunnel, Answer>> {
        self.connect_with(destination, &[]).await
    }

    /// Asks for a tunnel with extra fields.
    ///
    /// # Errors
    /// When the stream or the connection is reset instead of answered, or HTTP/2 cannot carry the destination.
    ///
    /// # Panics
    /// When a field cannot be written in HTTP/2 at all.
    pub async fn connect_with(
        &mut self,
        destination: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Result<Tunnel, Answer>> {
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(destination.parse().map_err(io::Error::other)?);
        let uri = Uri::from_parts(parts).expect("an authority alone is a target");
        let mut request = Request::builder().method(Method::CONNECT).version(Version::HTTP_2).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let (response, out, incoming) = self.request(request, false).await?;
        if response.status().is_success() {
            return Ok(Ok(Tunnel::Http2(out, incoming, Arc::clone(&self.driver))));
        }
        Ok(Err(answer(&response, incoming).await?))
    }

    /// Sends a plain-HTTP request with a body and reads the whole answer.
    ///
    /// # Errors
    /// When the stream or the connection is reset instead of answered.
    ///
    /// # Panics
    /// When the request cannot be written.
    pub async fn plain(&mut self, method: &str, uri: &str, body: &[u8]) -> io::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(uri)
            .body(())
            .expect("a request that HTTP/2 can carry");
        std::future::poll_fn(|context| self.requests.poll_ready(context)).await.map_err(io::Error::other)?;
        let (response, mut out) =
            self.requests.send_request(request, body.is_empty()).map_err(io::Error::other)?;
        let body = body.to_vec();
        // The answer may come before the body is taken, and then the rest of the body does not matter.
        tokio::spawn(async move {
            if !body.is_empty() && tunnel::send_data(&mut out, &body).await.is_ok() {
                let _ = out.send_data(Bytes::new(), true);
            }
        });
        let response = promptly("the stream is answered", response).await.map_err(io::Error::other)?;
        let (parts, incoming) = response.into_parts();
        answer(&Response::from_parts(parts, ()), incoming).await
    }
}

async fn answer(response: &Response<()>, mut incoming: RecvStream) -> io::Result<Answer> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut body = Vec::new();
    while let Some(bytes) = promptly("the body goes on", incoming.data()).await {
        let bytes = bytes.map_err(io::Error::other)?;
        let _ = incoming.flow_control().release_capacity(bytes.len());
        body.extend_from_slice(&bytes);
    }
    Ok(Answer { status: response.status().as_u16(), fields, body })
}
