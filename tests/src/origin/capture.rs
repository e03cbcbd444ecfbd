//! An origin that takes raw bytes: it keeps and counts each one, and notes how every connection ended.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::tunnel::End;
use crate::wait::{PATIENCE, eventually};

/// What an origin does with its connections.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Reads everything and says nothing.
    Sink,
    /// Sends back what it reads.
    Echo,
    /// Reads everything, and leaves its own side open for ever.
    Hold,
    /// Accepts, and reads nothing.
    Deaf,
    /// Says this at once, then reads everything.
    Greet(Vec<u8>),
    /// Says this at once, ends its writing side, then reads everything.
    GreetAndFinish(Vec<u8>),
    /// Sends without end and reads beside it.
    Pour,
    /// Reads the first bytes of a connection, then resets it.
    Reset,
}

/// One connection at an origin.
#[derive(Debug, Default)]
pub struct Incoming {
    count: AtomicU64,
    bytes: Mutex<Vec<u8>>,
    end: Mutex<Option<End>>,
}

/// Bytes kept per connection; what comes behind is only counted.
const KEPT: usize = 1 << 20;

impl Incoming {
    /// How many bytes have arrived.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The bytes that have arrived, the first mebibyte of them.
    ///
    /// # Panics
    /// Never.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("nobody panics with this lock").clone()
    }

    /// How it ended, once it has.
    ///
    /// # Panics
    /// Never.
    pub fn end(&self) -> Option<End> {
        *self.end.lock().expect("nobody panics with this lock")
    }

    /// How it ended; waits for that.
    pub async fn ended(&self) -> End {
        eventually(PATIENCE, "the origin's connection ends", async || self.end()).await
    }

    /// Waits until so many bytes have arrived.
    pub async fn reaches(&self, count: u64) {
        let what = format!("{count} bytes arrive at the origin, of which there are {}", self.count());
        eventually(PATIENCE, &what, async || (self.count() >= count).then_some(())).await;
    }

    fn note(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().expect("nobody panics with this lock");
        let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        self.count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }

    fn note_end(&self, end: End) {
        self.end.lock().expect("nobody panics with this lock").get_or_insert(end);
    }
}

/// An origin for raw bytes.
#[derive(Debug)]
pub struct Capture {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Incoming>>>>,
    control: Arc<Control>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Control {
    listening: AtomicBool,
    wake: Notify,
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Capture {
    /// Starts on 127.0.0.1.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST), behaviour).await
    }

    /// Starts on ::1.
    pub async fn start_v6(behaviour: Behaviour) -> Self {
        Self::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST), behaviour).await
    }

    /// Starts on this address, on a port of the system's choice.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    pub async fn start_on(ip: IpAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound address");
        let connections = Arc::new(Mutex::new(Vec::new()));
        let control = Arc::new(Control::default());
        let task = tokio::spawn(accept(listener, behaviour, Arc::clone(&connections), Arc::clone(&control)));
        Self { address, connections, control, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `host:port` under this name.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        format!("{name}:{}", self.address.port())
    }

    /// `origin.test:port`.
    #[must_use]
    pub fn destination(&self) -> String {
        self.at("origin.test")
    }

    /// Every connection so far, in order.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Incoming>> {
        self.connections.lock().expect("nobody panics with this lock").clone()
    }

    /// The connection of this number, from 0; waits for it.
    pub async fn connection(&self, number: usize) -> Arc<Incoming> {
        let what = format!("connection {number} arrives at the origin");
        eventually(PATIENCE, &what, async || self.connections().get(number).cloned()).await
    }

    /// The bytes of all connections together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.connections().iter().map(|connection| connection.count()).sum()
    }

    /// A deaf origin begins to read.
    pub fn listen(&self) {
        self.control.listening.store(true, Ordering::SeqCst);
        self.control.wake.notify_waiters();
    }
}

async fn accept(
    listener: TcpListener,
    behaviour: Behaviour,
    connections: Arc<Mutex<Vec<Arc<Incoming>>>>,
    control: Arc<Control>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let incoming = Arc::new(Incoming::default());
        connections.lock().expect("nobody panics with this lock").push(Arc::clone(&incoming));
        tokio::spawn(serve(stream, behaviour.clone(), incoming, Arc::clone(&control)));
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour, incoming: Arc<Incoming>, control: Arc<Control>) {
    let _ = stream.set_nodelay(true);
    match behaviour {
        Behaviour::Sink => read_all(&mut stream, &incoming).await,
        Behaviour::Hold => {
            read_all(&mut stream, &incoming).await;
            std::future::pending::<()>().await;
        }
        Behaviour::Echo => echo(&mut stream, &incoming).await,
        Behaviour::Greet(text) => {
            let _ = stream.write_all(&text).await;
            read_all(&mut stream, &incoming).await;
        }
        Behaviour::GreetAndFinish(text) => {
            let _ = stream.write_all(&text).await;
            let _ = stream.shutdown().await;
            read_all(&mut stream, &incoming).await;
        }
        Behaviour::Deaf => {
            loop {
                let woken = control.wake.notified();
                if control.listening.load(Ordering::SeqCst) {
                    break;
                }
                woken.await;
            }
            read_all(&mut stream, &incoming).await;
        }
        Behaviour::Pour => pour(stream, &incoming).await,
        Behaviour::Reset => {
            let _ = stream.read(&mut [0; 16]).await;
            let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin), incoming: &Incoming) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return incoming.note_end(End::Finished),
            Ok(count) => incoming.note(&buffer[..count]),
            Err(_) => return incoming.note_end(End::Broken),
        }
    }
}

async fn echo(stream: &mut TcpStream, incoming: &Incoming) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => {
                let _ = stream.shutdown().await;
                return incoming.note_end(End::Finished);
            }
            Ok(count) => {
                incoming.note(&buffer[..count]);
                if stream.write_all(&buffer[..count]).await.is_err() {
                    // What has arrived before the reset still counts.
                    incoming.note_end(End::Broken);
                    return read_all(stream, incoming).await;
                }
            }
            Err(_) => return incoming.note_end(End::Broken),
        }
    }
}

async fn pour(stream: TcpStream, incoming: &Incoming) {
    let (mut reading, mut writing) = stream.into_split();
    let pouring = async {
        let block = vec![b'd'; 16 * 1024];
        let outcome: io::Result<()> = async {
            loop {
                writing.write_all(&block).await?;
            }
        }
        .await;
        // Whichever side notices a reset first takes the error away from the other.
        if outcome.is_err() {
            incoming.note_end(End::Broken);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = pouring => {}
        () = read_all(&mut reading, incoming) => {}
    }
}
