use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::{Exchanged, Fault, Http1Answer, Http1Intake, Outbound, exchange};
use crate::request::{Forward, Protocol, Pseudonym, Request, RequestHead, Rules};

mod chunked;
mod downstream_http2;
mod outbound;
mod pool;
mod requests;
mod responses;
mod upgrades;

fn pseudonym() -> Pseudonym {
    Pseudonym::of_gateway("gw-1")
}

fn read(bytes: &[u8]) -> (Forward, RequestHead, usize) {
    let (head, used) = RequestHead::parse(bytes, &Rules::new(pseudonym())).unwrap().expect("a whole head");
    let Request::Forward(forward) = head.request.clone() else { panic!("a tunnel") };
    (*forward, head, used)
}

/// What came of one request.
struct Told {
    result: Result<Exchanged<DuplexStream>, Fault>,
    heard: String,
    left: BytesMut,
    begun: bool,
    persistent: bool,
}

impl Told {
    fn is_whole(&self) -> bool {
        matches!(self.result, Ok(Exchanged::Completed { uploaded: true, .. }))
    }

    fn reuses_upstream(&self) -> bool {
        matches!(self.result, Ok(Exchanged::Completed { upstream: Some(_), .. }))
    }

    fn fault(self) -> Fault {
        self.result.expect_err("a fault")
    }
}

/// Forwards one request of which everything has arrived already.
async fn forward(request: &[u8], upstream: DuplexStream) -> Told {
    forward_from(request, &mut tokio::io::empty(), upstream).await
}

/// Forwards one request of which the rest comes from `reader`.
async fn forward_from<R>(request: &[u8], reader: &mut R, upstream: DuplexStream) -> Told
where
    R: tokio::io::AsyncRead + Unpin + Send,
{
    use super::Answer as _;
    let (forward, head, used) = read(request);
    let outbound = Outbound::new(&forward, head.protocol, &pseudonym());
    let (mut left, mut heard) = (BytesMut::from(&request[used..]), Vec::new());
    let mut intake = Http1Intake::new(reader, &mut left, forward.framing);
    let mut answer = Http1Answer::new(&mut heard, head.protocol, head.persistent);
    let result = exchange(upstream, &outbound, &mut intake, &mut answer).await;
    let (begun, persistent) = (answer.begun(), answer.persistent());
    Told { result, heard: String::from_utf8(heard).unwrap(), left, begun, persistent }
}

/// An origin that answers after the request head and then listens to the end. What it heard is the result.
fn origin(reply: impl Into<Vec<u8>>) -> (DuplexStream, JoinHandle<String>) {
    origin_after("\r\n\r\n", reply, false)
}

fn origin_after(
    mark: &'static str,
    reply: impl Into<Vec<u8>>,
    closes: bool,
) -> (DuplexStream, JoinHandle<String>) {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let reply = reply.into();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while !heard.windows(mark.len()).any(|part| part == mark.as_bytes()) {
            assert!(far.read_buf(&mut heard).await.unwrap() > 0, "the request ended early");
        }
        // The other side may have had enough of the reply before it is all written.
        let _enough = far.write_all(&reply).await;
        if closes {
            far.shutdown().await.unwrap();
        }
        far.read_to_end(&mut heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    });
    (near, heard)
}

fn get(fields: &str) -> String {
    format!("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}
