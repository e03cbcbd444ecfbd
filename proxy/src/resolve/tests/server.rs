//! A name server on loopback that says what a test wants, and remembers what it was asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::sync::watch;

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// What the server says to one question.
#[derive(Debug, Clone)]
pub(super) enum Says {
    /// These addresses, of the family asked for, with this time to live.
    Addresses(Vec<IpAddr>, u32),
    /// An alias to this name, and these addresses of it.
    Alias(&'static str, Vec<IpAddr>, u32),
    /// No such name; an SOA record with this minimum goes along, if any.
    NoSuchName(Option<u32>),
    Failure,
    Silence,
}

/// One question: the name as it was spelled on the wire, and the record type.
pub(super) type Asked = (String, u16);

/// The server; it ends with the test.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    asked: watch::Receiver<Vec<Asked>>,
    /// Answers wait while this is false.
    answering: watch::Sender<bool>,
}

impl Server {
    /// A server that says what `script` says, given the question and how many came before it.
    pub(super) async fn run(script: impl Fn(&str, u16, usize) -> Says + Send + Sync + 'static) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let addr = socket.local_addr().unwrap();
        let (record, asked) = watch::channel(Vec::new());
        let (answering, open) = watch::channel(true);
        let script = Arc::new(Mutex::new(script));
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = buffer[..length].to_vec();
                let (name, kind, end) = question(&query);
                let before = record.borrow().len();
                let says = script.lock().unwrap()(&name, kind, before);
                record.send_modify(|asked| asked.push((name, kind)));
                let (socket, mut open) = (Arc::clone(&socket), open.clone());
                tokio::spawn(async move {
                    if let Some(answer) = answer(&query[..end], kind, &says) {
                        open.wait_for(|open| *open).await.unwrap();
                        socket.send_to(&answer, from).await.unwrap();
                    }
                });
            }
        });
        Self { addr, asked, answering }
    }

    /// A server that says the same to every question.
    pub(super) async fn always(says: Says) -> Self {
        Self::run(move |_, _, _| says.clone()).await
    }

    /// All questions so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// How often it was asked for this record type.
    pub(super) fn times(&self, kind: u16) -> usize {
        self.asked.borrow().iter().filter(|(_, asked)| *asked == kind).count()
    }

    /// Waits until the questions so far satisfy `condition`.
    pub(super) async fn until(&self, condition: impl FnMut(&Vec<Asked>) -> bool) {
        let mut asked = self.asked.clone();
        asked.wait_for(condition).await.unwrap();
    }

    /// Holds all answers back, or lets them go.
    pub(super) fn hold(&self, held: bool) {
        self.answering.send_replace(!held);
    }
}

/// The name, the type, and where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let mut name = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..=at + length]).unwrap());
        name.push('.');
        at += length + 1;
    }
    (name, u16::from_be_bytes([query[at + 1], query[at + 2]]), at + 5)
}

fn answer(query: &[u8], kind: u16, says: &Says) -> Option<Vec<u8>> {
    let (code, answers, authorities) = match says {
        Says::Silence => return None,
        Says::Failure => (2, Vec::new(), Vec::new()),
        Says::NoSuchName(minimum) => (3, Vec::new(), minimum.iter().map(|minimum| soa(*minimum)).collect()),
        Says::Addresses(addresses, ttl) => {
            (0, address_records(&[0xc0, 12], kind, addresses, *ttl), Vec::new())
        }
        Says::Alias(target, addresses, ttl) => {
            let target = wire_name(target);
            let mut records = vec![record(&[0xc0, 12], CNAME, *ttl, &target)];
            records.extend(address_records(&target, kind, addresses, *ttl));
            (0, records, Vec::new())
        }
    };
    let mut message = query[..2].to_vec();
    message.extend([0x81, 0x80 | code, 0, 1]);
    message.extend(u16::try_from(answers.len()).unwrap().to_be_bytes());
    message.extend(u16::try_from(authorities.len()).unwrap().to_be_bytes());
    message.extend([0, 0]);
    message.extend(&query[12..]);
    message.extend(answers.concat());
    message.extend(authorities.concat());
    Some(message)
}

fn address_records(owner: &[u8], kind: u16, addresses: &[IpAddr], ttl: u32) -> Vec<Vec<u8>> {
    let of_kind = addresses.iter().filter_map(|address| match (kind, address) {
        (A, IpAddr::V4(v4)) => Some(v4.octets().to_vec()),
        (AAAA, IpAddr::V6(v6)) => Some(v6.octets().to_vec()),
        _ => None,
    });
    of_kind.map(|octets| record(owner, kind, ttl, &octets)).collect()
}

fn soa(minimum: u32) -> Vec<u8> {
    let mut data = vec![0, 0];
    for number in [1, 2, 3, 4, minimum] {
        data.extend(u32::to_be_bytes(number));
    }
    record(&[0], SOA, minimum, &data)
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}
