//! How is a plain-HTTP request made through a proxy? In absolute form, one after the other on one connection.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::link::Link;
use crate::subject::Subject;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A client with a connection to a proxy.
#[derive(Debug)]
pub(crate) struct Client {
    link: Link,
    request: Vec<u8>,
    authority: String,
    read: Vec<u8>,
}

impl Client {
    /// Connects; `number` picks source and destination address.
    ///
    /// # Errors
    /// At which step.
    pub(crate) async fn of(subject: &Subject, number: usize) -> anyhow::Result<Self> {
        let authority = subject.destination(number).to_owned();
        let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes();
        Ok(Self { link: Link::to(subject, number).await?, request, authority, read: Vec::new() })
    }

    /// One request, and its answer, which has to be that of the origin.
    ///
    /// # Errors
    /// What came instead.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<()> {
        self.link.write_all(&self.request).await?;
        self.link.flush().await?;
        self.read.clear();
        loop {
            if let Some(end) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                let (head, body) = self.read.split_at_checked(end + 4).unwrap_or_default();
                let length = length(head).context("an answer without a length")?;
                if body.len() >= length {
                    ensure!(
                        head.starts_with(b"HTTP/1.1 200 ") && body == self.authority.as_bytes(),
                        "not the origin's answer: {}",
                        String::from_utf8_lossy(&self.read)
                    );
                    return Ok(());
                }
            }
            if self.read.len() > LONGEST_ANSWER || self.link.read_buf(&mut self.read).await? == 0 {
                bail!("no whole answer within {} bytes", self.read.len());
            }
        }
    }
}

/// The `Content-Length` of a head.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_whatever_its_case() {
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 12\r\n\r\n"), Some(12));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
    }
}
