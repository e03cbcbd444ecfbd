//! An HTTP/1.1 origin that keeps every request exactly as it came, and can switch to WebSocket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::wait::{PATIENCE, eventually};
use crate::wire::{Stream, Wire};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came over, from 0.
    pub connection: usize,
    /// Request line and fields, with the empty line.
    pub head: String,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Received {
    /// The values of a field, in order; the name in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The request line.
    #[must_use]
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Log {
    connections: usize,
    ended: usize,
    requests: Vec<Received>,
    /// Every byte of every connection, heads, framing and bodies.
    bytes: u64,
}

/// What every request is answered with, behind `HTTP/1.1 `.
type Script = Arc<Mutex<Vec<u8>>>;

/// An origin for plain HTTP.
#[derive(Debug)]
pub struct HttpOrigin {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    script: Script,
    task: JoinHandle<()>,
}

impl Drop for HttpOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpOrigin {
    /// Starts on 127.0.0.1; every request is answered with `200` and the body `hello`.
    ///
    /// # Panics
    /// When there is no port on loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let log = Arc::new(Mutex::new(Log::default()));
        let script: Script =
            Arc::new(Mutex::new(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()));
        let (kept, said) = (Arc::clone(&log), Arc::clone(&script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (log, script) = (Arc::clone(&kept), Arc::clone(&said));
                tokio::spawn(async move {
                    serve(stream, Arc::clone(&log), script).await;
                    log.lock().expect("nobody panics with this lock").ended += 1;
                });
            }
        });
        Self { address, log, script, task }
    }

    /// Answers from now on with exactly these bytes.
    ///
    /// # Panics
    /// Never.
    pub fn answer_with(&self, bytes: impl AsRef<[u8]>) {
        *self.script.lock().expect("nobody panics with this lock") = bytes.as_ref().to_vec();
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `origin.test:port`.
    #[must_use]
    pub fn destination(&self) -> String {
        format!("origin.test:{}", self.address.port())
    }

    /// `http://origin.test:port` and the path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.destination())
    }

    /// Every request so far.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.log.lock().expect("nobody panics with this lock").requests.clone()
    }

    /// The request of this number, from 0; waits for it.
    pub async fn request(&self, number: usize) -> Received {
        eventually(PATIENCE, "the origin gets the request", async || self.requests().get(number).cloned())
            .await
    }

    /// How many connections were made.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log.lock().expect("nobody panics with this lock").connections
    }

    /// Waits until so many connections have come and none is open any more: what `bytes` says then is final.
    pub async fn quiet(&self, connections: usize) {
        eventually(PATIENCE, "the origin's connections end", async || {
            let log = self.log.lock().expect("nobody panics with this lock");
            (log.ended == log.connections && log.ended >= connections).then_some(())
        })
        .await;
    }

    /// How many bytes arrived in all, heads and framing included.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.lock().expect("nobody panics with this lock").bytes
    }
}

/// Serves requests until the connection ends; a WebSocket request is switched, then echoed byte for byte.
async fn serve(stream: impl Stream + 'static, log: Arc<Mutex<Log>>, script: Script) {
    let connection = {
        let mut log = log.lock().expect("nobody panics with this lock");
        log.connections += 1;
        log.connections - 1
    };
    let mut wire = Wire::new(Counted { stream, log: Arc::clone(&log) });
    while let Some(received) = request(&mut wire, connection).await {
        let websocket = received.field("upgrade").iter().any(|value| value.eq_ignore_ascii_case("websocket"));
        log.lock().expect("nobody panics with this lock").requests.push(received);
        if websocket {
            return echo_websocket(wire).await;
        }
        let answer = script.lock().expect("nobody panics with this lock").clone();
        if wire.send(answer).await.is_err() {
            return;
        }
    }
}

async fn request(wire: &mut Wire, connection: usize) -> Option<Received> {
    let head = wire.until_idly(b"\r\n\r\n").await.ok()?;
    let mut received =
        Received { connection, head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
    if received.field("expect").contains(&"100-continue") {
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let chunked = received.field("transfer-encoding").contains(&"chunked");
    let length = received.field("content-length").first().and_then(|length| length.parse().ok());
    received.body = match length {
        _ if chunked => wire.chunks().await.ok()?,
        Some(length) => wire.exactly(length).await.ok()?,
        None => Vec::new(),
    };
    Some(received)
}

async fn echo_websocket(mut wire: Wire) {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    if wire.send(switch).await.is_err() {
        return;
    }
    while let Ok(bytes) = wire.some_idly().await {
        if bytes.is_empty() || wire.send(bytes).await.is_err() {
            let _ = wire.finish().await;
            return;
        }
    }
}

/// A stream that counts what is read from it.
struct Counted<S> {
    stream: S,
    log: Arc<Mutex<Log>>,
}

impl<S: Stream> tokio::io::AsyncRead for Counted<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(context, into);
        self.log.lock().expect("nobody panics with this lock").bytes += (into.filled().len() - before) as u64;
        polled
    }
}

impl<S: Stream> tokio::io::AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Answers one request on a stream that is already open: what stands inside a TLS origin.
pub(super) async fn answer_over(stream: impl Stream + 'static) {
    let mut wire = Wire::new(stream);
    while request(&mut wire, 0).await.is_some() {
        if wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.is_err() {
            return;
        }
    }
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut wire).await;
}
