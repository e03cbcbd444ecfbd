//! A gateway's end: one TLS connection to the control plane, and everything over it.
//!
//! [`Link::follow`] connects and stays; what else is asked for goes over that connection, or fails when there is none. When to try
//! again is for whoever follows. A control plane that is silent for longer than ten heartbeats counts as lost. The only place where
//! a gateway opens a connection that no device asked for.

mod body;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::frame::{self, Inbox};
use crate::envelope::LARGEST_RECORD;
use crate::log::Position;
use crate::target::to_hex;
use crate::transport::{FrameSink, LeaseAnswer, LeaseRequest, Link, Report, TransportFault};
use body::Outgoing;

/// How long connecting may take, and the handshake after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// How long the control plane may be silent; it says something every second.
const SILENT: Duration = Duration::from_secs(10);
/// How long the connection may be quiet before the peer is asked whether it is still there, and how long it may take.
const PING: Duration = Duration::from_secs(3);
/// How many reports may wait.
const REPORTS: usize = 64;
/// The largest answer, in bytes: a page of records, of which one may be as large as a record gets.
const LARGEST_ANSWER: usize = LARGEST_RECORD + (8 << 20);
/// How much the control plane may send ahead on one stream, in bytes.
const STREAM_WINDOW: u32 = 2 << 20;
/// How much the control plane may send ahead altogether, in bytes: a chunk that is being read must not hold up a hint.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// A gateway's end.
pub struct ControlLink {
    host: String,
    port: u16,
    server: ServerName<'static>,
    tls: Arc<ArcSwap<ClientConfig>>,
    connection: Mutex<Option<Connected>>,
}

#[derive(Clone)]
struct Connected {
    requests: SendRequest<Outgoing>,
    reports: mpsc::Sender<Bytes>,
}

/// Ends the task when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ControlLink {
    /// The control plane at this host, a name or an address, and port. The configuration has the gateway's certificate, trusts the
    /// control plane's authority alone and offers `h2`; it is read anew for every connection.
    ///
    /// # Errors
    /// [`TransportFault`] when the host is neither a name nor an address.
    pub fn new(host: &str, port: u16, tls: Arc<ArcSwap<ClientConfig>>) -> Result<Self, TransportFault> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(bare.clone())
            .map_err(|_| TransportFault(format!("`{host}` is neither a name nor an address")))?;
        Ok(Self { host: bare, port, server, tls, connection: Mutex::default() })
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connected>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<(SendRequest<Outgoing>, Task), TransportFault> {
        let refused = |what: &str, fault: &dyn std::fmt::Display| {
            TransportFault(format!("{what} {}:{}: {fault}", self.host, self.port))
        };
        #[expect(clippy::disallowed_methods, reason = "this is not a destination but our own control plane")]
        let stream = timeout(PATIENCE, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = stream.map_err(|_| refused("no connection to", &"it took too long"))?;
        let stream = stream.map_err(|fault| refused("no connection to", &fault))?;
        stream.set_nodelay(true).map_err(|fault| refused("no connection to", &fault))?;
        let connector = TlsConnector::from(self.tls.load_full());
        let stream = timeout(PATIENCE, connector.connect(self.server.clone(), stream)).await;
        let stream = stream.map_err(|_| refused("no handshake with", &"it took too long"))?;
        let stream = stream.map_err(|fault| refused("no handshake with", &fault))?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream));
        let (requests, connection) = timeout(PATIENCE, handshake)
            .await
            .map_err(|_| refused("no answer of", &"it took too long"))?
            .map_err(|fault| refused("no answer of", &fault))?;
        let task = tokio::spawn(async move {
            // Why it ended is told by whatever was asked for last.
            drop(connection.await);
        });
        Ok((requests, Task(task)))
    }

    async fn follow_now(&self, hello: Report, each: FrameSink<'_>) -> Result<(), TransportFault> {
        let (mut requests, _task) = self.connect().await?;
        let (reports, queue) = mpsc::channel(REPORTS);
        // There is room: nobody else has the queue yet.
        drop(reports.try_send(frame::encode_report(&hello)));
        let request = self.request(Method::POST, "/v1/follow", Outgoing::Reports(queue))?;
        let answer = timeout(ANSWER, requests.send_request(request)).await.map_err(|_| late())?;
        let answer = answer.map_err(lost)?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(answer.status(), answer.into_body()).await);
        }
        *self.connection() = Some(Connected { requests, reports });
        let _attached = Attached(self);
        take_frames(answer.into_body(), each).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), TransportFault> {
        let connected = self.connection().clone();
        let connected = connected.ok_or_else(|| TransportFault("there is no connection".into()))?;
        let request = self.request(method, path, Outgoing::Whole(Some(body)))?;
        let mut requests = connected.requests;
        let asked = async move {
            let answer = requests.send_request(request).await.map_err(lost)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
            let body = body.map_err(|fault| TransportFault(format!("the answer broke off: {fault}")))?;
            Ok((status, body.to_bytes()))
        };
        timeout(ANSWER, asked).await.map_err(|_| late())?
    }

    /// As [`ControlLink::ask`], for what may be missing.
    async fn find(&self, path: &str) -> Result<Option<Bytes>, TransportFault> {
        match self.ask(Method::GET, path, Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(Some(body)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => Err(words(status, &body)),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, TransportFault> {
        let uri = format!("https://control{path}");
        let request = Request::builder().method(method).uri(uri).body(body);
        request.map_err(|fault| TransportFault(fault.to_string()))
    }
}

/// Forgets the connection however following ends.
struct Attached<'a>(&'a ControlLink);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        *self.0.connection() = None;
    }
}

async fn take_frames(mut body: Incoming, mut each: FrameSink<'_>) -> Result<(), TransportFault> {
    let mut inbox = Inbox::default();
    loop {
        let piece = timeout(SILENT, body.frame()).await;
        let piece = piece.map_err(|_| TransportFault("the control plane is silent".into()))?;
        let Some(piece) = piece else { return Ok(()) };
        let piece = piece.map_err(lost)?;
        if let Some(piece) = piece.data_ref() {
            inbox.push(piece);
        }
        loop {
            match inbox.frame() {
                Ok(Some(frame)) => each(frame),
                Ok(None) => break,
                Err(fault) => return Err(TransportFault(format!("a frame is not in order: {fault}"))),
            }
        }
    }
}

async fn refusal(status: StatusCode, body: Incoming) -> TransportFault {
    let body = timeout(PATIENCE, Limited::new(body, 4096).collect()).await;
    match body {
        Ok(Ok(body)) => words(status, &body.to_bytes()),
        Ok(Err(_)) | Err(_) => words(status, b""),
    }
}

fn words(status: StatusCode, body: &[u8]) -> TransportFault {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    TransportFault(format!("the control plane answers {}: {text}", status.as_u16()))
}

fn late() -> TransportFault {
    TransportFault("the control plane does not answer in time".into())
}

fn lost(fault: hyper::Error) -> TransportFault {
    TransportFault(format!("the connection is lost: {fault}"))
}

impl Link for ControlLink {
    fn follow<'a>(&'a self, hello: Report, each: FrameSink<'a>) -> BoxFuture<'a, TransportFault> {
        Box::pin(async move {
            match self.follow_now(hello, each).await {
                Ok(()) => TransportFault("the control plane has ended the connection".into()),
                Err(fault) => fault,
            }
        })
    }

    fn report(&self, report: Report) {
        if let Some(connected) = &*self.connection() {
            // With no room the next one says as much; receipts are repeated by their sequence.
            drop(connected.reports.try_send(frame::encode_report(&report)));
        }
    }

    fn records(&self, after: &Position, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        let path = format!("/v1/records?epoch={}&after={}&most={most}", after.epoch, after.sequence);
        Box::pin(async move {
            let (status, body) = self.ask(Method::GET, &path, Bytes::new()).await?;
            if status != StatusCode::OK {
                return Err(words(status, &body));
            }
            let (mut inbox, mut page) = (Inbox::default(), Vec::new());
            inbox.push(&body);
            while let Some(record) = inbox
                .item(LARGEST_RECORD)
                .map_err(|fault| TransportFault(format!("a record is not in order: {fault}")))?
            {
                page.push(record);
            }
            Ok(page)
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        Box::pin(self.find("/v1/snapshot"))
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        Box::pin(async move { self.find(&format!("/v1/chunk/{}", to_hex(digest))).await })
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&request).unwrap_or_default();
            match self.ask(Method::POST, "/v1/lease", body.into()).await? {
                (StatusCode::OK, body) => {
                    serde_json::from_slice(&body).map_err(|fault| TransportFault(fault.to_string()))
                }
                (status, body) => Err(words(status, &body)),
            }
        })
    }
}
