//! How is a running gateway asked? One HTTP exchange with its admin listener, blocking, bounded.
//!
//! Only ever speaks to the address that the user or the gateway's own state names. Never follows a redirect, never reads
//! more than a bounded answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::exit::{During as _, Failure};

const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 256 << 20;

/// The admin listener of a running gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    admin: SocketAddr,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Running {
    pub(crate) fn new(admin: SocketAddr) -> Self {
        Self { admin }
    }

    /// `GET` of a path that is already encoded.
    pub(crate) fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.get(path)?.data()
    }

    /// Whether it would let sessions begin.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|answer| answer.status == 200)
    }

    fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin))
    }

    /// `POST` of an empty object.
    pub(crate) fn tell(&self, path: &str) -> Result<Answer, Failure> {
        self.exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}",
            self.admin
        ))
    }

    fn exchange(&self, request: &str) -> Result<Answer, Failure> {
        let place = format!("the gateway's admin listener at {}", self.admin);
        let mut stream = TcpStream::connect_timeout(&self.admin, PATIENCE).map_err(|fault| {
            Failure::new(format_args!("cannot reach {place}: {fault}"))
                .help("is the gateway running here? name its admin listener with --admin, or its settings with --config")
        })?;
        stream.set_read_timeout(Some(PATIENCE)).during(&place)?;
        stream.write_all(request.as_bytes()).during(&place)?;
        let mut bytes = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut bytes).during(&place)?;
        parse(&bytes).ok_or_else(|| Failure::new(format_args!("{place} does not speak like a gateway")))
    }
}

impl Answer {
    /// The body as data.
    pub(crate) fn data<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.status != 200 {
            let said: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
            let hint =
                said.as_ref().and_then(|said| said.get("hint")?.as_str()).unwrap_or("no reason was given");
            return Err(Failure::new(format_args!("the gateway answered {}: {hint}", self.status)));
        }
        serde_json::from_slice(&self.body).during("the gateway's answer")
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes).ok()? else { return None };
    let declared = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    let length: usize = std::str::from_utf8(declared.value).ok()?.parse().ok()?;
    let body = bytes.get(head..)?.get(..length)?;
    Some(Answer { status: response.code?, body: body.to_vec() })
}

/// Text as part of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(whole).unwrap().status, 200);
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_none());
    }

    #[test]
    fn a_refusal_of_the_gateway_is_a_failure_with_its_words() {
        let answer =
            parse(b"HTTP/1.1 404 Not Found\r\ncontent-length: 14\r\n\r\n{\"hint\":\"gone\"}").unwrap();
        assert!(answer.data::<serde_json::Value>().is_err());
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("a b&c=[::1]:443"), "a%20b%26c%3D%5B%3A%3A1%5D%3A443");
    }
}
