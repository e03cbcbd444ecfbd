//! A DNS server that says what it is told to, one answer after the other: public first, loopback second.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// One answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These addresses, with a time to live of 0; those of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The server has failed.
    Failed,
    /// Nothing, ever.
    Silence,
    /// An alias for another name, whose addresses follow in the same answer.
    Alias(String, Vec<IpAddr>),
}

#[derive(Debug, Default)]
struct Book {
    replies: HashMap<String, Vec<Reply>>,
    asked: Vec<String>,
}

/// A DNS server on loopback. A name it was told nothing about does not exist.
#[derive(Debug)]
pub struct DnsOrigin {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

impl Drop for DnsOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DnsOrigin {
    /// Starts on 127.0.0.1.
    ///
    /// # Panics
    /// When there is no port on loopback.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = socket.local_addr().expect("a bound address");
        let book = Arc::new(Mutex::new(Book::default()));
        let task = tokio::spawn(serve(socket, Arc::clone(&book)));
        Self { address, book, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says these one after the other when asked for `name`; the last one stays. A and AAAA count on their own.
    ///
    /// # Panics
    /// Never.
    pub fn tell(&self, name: &str, replies: &[Reply]) {
        let mut book = self.book.lock().expect("nobody panics with this lock");
        for kind in [A, AAAA] {
            book.replies.insert(format!("{name}/{kind}"), replies.to_vec());
        }
    }

    /// Every name that was asked for, as it was spelled, in order.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.book.lock().expect("nobody panics with this lock").asked.clone()
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

async fn serve(socket: UdpSocket, book: Arc<Mutex<Book>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(question) = Question::read(&buffer[..length]) else { continue };
        let reply = {
            let mut book = book.lock().expect("nobody panics with this lock");
            book.asked.push(question.name.clone());
            next(&mut book, &question)
        };
        if let Some(answer) = question.answer(&reply) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn next(book: &mut Book, question: &Question) -> Reply {
    let key = format!("{}/{}", question.name.to_ascii_lowercase(), question.kind);
    match book.replies.get_mut(&key) {
        None => Reply::NoSuchName,
        Some(replies) if replies.len() > 1 => replies.remove(0),
        Some(replies) => replies.first().cloned().unwrap_or(Reply::NoSuchName),
    }
}

struct Question {
    id: [u8; 2],
    name: String,
    kind: u16,
    raw: Vec<u8>,
}

impl Question {
    fn read(packet: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*packet.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).into_owned());
            at += length;
        }
        let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
        let raw = packet.get(12..at + 4)?.to_vec();
        Some(Self { id: packet.get(..2)?.try_into().ok()?, name: labels.join("."), kind, raw })
    }

    fn answer(&self, reply: &Reply) -> Option<Vec<u8>> {
        let (code, records) = match reply {
            Reply::Silence => return None,
            Reply::NoSuchName => (3, Vec::new()),
            Reply::Failed => (2, Vec::new()),
            Reply::Addresses(addresses) => (0, self.records(&[0xc0, 12], addresses)),
            Reply::Alias(name, addresses) => {
                let target = encoded(name);
                let mut records = vec![record(&[0xc0, 12], 5, &target)];
                records.extend(self.records(&target, addresses));
                (0, records)
            }
        };
        let count = u16::try_from(records.len()).ok()?;
        let mut packet = self.id.to_vec();
        packet.extend([0x81, 0x80 | code, 0, 1]);
        packet.extend(count.to_be_bytes());
        packet.extend([0, 0, 0, 0]);
        packet.extend(&self.raw);
        packet.extend(records.concat());
        Some(packet)
    }

    fn records(&self, owner: &[u8], addresses: &[IpAddr]) -> Vec<Vec<u8>> {
        let of_family = addresses.iter().filter_map(|address| match (address, self.kind) {
            (IpAddr::V4(v4), A) => Some(record(owner, A, &v4.octets())),
            (IpAddr::V6(v6), AAAA) => Some(record(owner, AAAA, &v6.octets())),
            _ => None,
        });
        of_family.collect()
    }
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 0]);
    bytes.extend(u16::try_from(data.len()).expect("a short record").to_be_bytes());
    bytes.extend(data);
    bytes
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
