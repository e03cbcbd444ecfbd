//! How is a control plane asked? One HTTPS connection with a bearer token, kept open, without async: what is measured is the
//! answer, not the queue of a runtime that is busy with a thousand closings.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::Value;

use crate::dial::dial_control;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// A connection to the API of a control plane.
#[derive(Debug)]
pub(crate) struct Api {
    stream: StreamOwned<ClientConnection, TcpStream>,
    host: SocketAddr,
    token: String,
}

impl Api {
    /// Connects, and makes the handshake, so that none is measured later.
    ///
    /// # Errors
    /// When nobody listens, or the handshake fails.
    pub(crate) fn connect(host: SocketAddr, tls: Arc<ClientConfig>, token: &str) -> anyhow::Result<Self> {
        let mut tcp = dial_control(host, PATIENCE)?;
        let mut connection = ClientConnection::new(tls, ServerName::try_from("localhost")?)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).context("the TLS handshake with the control plane")?;
        }
        Ok(Self { stream: StreamOwned::new(connection, tcp), host, token: token.to_owned() })
    }

    /// Asks, and reads the whole answer: its status, and its body as JSON.
    ///
    /// # Errors
    /// When the connection ends without an answer, or the answer is not what an API says.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<(u16, Value)> {
        let Self { host, token, .. } = &self;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.stream.flush()?;
        let mut answer = Vec::new();
        loop {
            if let Some(whole) = whole(&answer)? {
                return Ok(whole);
            }
            let mut piece = [0; 16 * 1024];
            let read = self.stream.read(&mut piece)?;
            if read == 0 || answer.len() > LONGEST_ANSWER {
                bail!("{method} {path}: no whole answer within {} bytes", answer.len());
            }
            answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
    }

    /// The same; anything but a success is an error.
    ///
    /// # Errors
    /// As [`Api::ask`], and what the control plane said when it refused.
    pub(crate) fn done(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let (status, said) = self.ask(method, path, body)?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {said}");
        }
        Ok(said)
    }
}

/// Status and body of an answer, once all of it is there.
fn whole(answer: &[u8]) -> anyhow::Result<Option<(u16, Value)>> {
    let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = answer.split_at(end + 4);
    let head = std::str::from_utf8(head).context("the head of an answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    };
    let length = head.lines().find_map(field).unwrap_or(0);
    match body.get(..length) {
        None => Ok(None),
        Some([]) => Ok(Some((status, Value::Null))),
        Some(body) => Ok(Some((status, serde_json::from_slice(body).context("the body of an answer")?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 1}";
        for cut in 0..text.len() {
            assert_eq!(whole(text.get(..cut).unwrap()).unwrap(), None, "{cut}");
        }
        assert_eq!(whole(text).unwrap(), Some((200, serde_json::json!({"a": 1}))));
        assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some((204, Value::Null)));
        assert!(whole(b"SSH-2.0\r\n\r\n").is_err());
    }
}
