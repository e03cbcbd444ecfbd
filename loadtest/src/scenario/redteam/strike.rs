//! What becomes of an attack? It is done once; the answer, the origin and the event file say how it went.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::attack::{Attack, Means};
use crate::dial::source;
use crate::events::Journal;
use crate::link::Link;
use crate::origin::{Order, PIECE, Seen, Watch};
use crate::report::Finding;
use crate::stream::Shared;
use crate::subject::{Protocol, Subject};
use crate::tunnel;

/// How long the proxy may take to answer, or to end what it does not let through.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// Sessions over which an upload is split.
const SESSIONS: usize = 4;
/// How often the origin is asked whether its connections are over.
const TICK: Duration = Duration::from_millis(10);
/// Which source address attacks come from.
const SOURCE: usize = 0;

/// What attacks are done with, and who watches.
#[derive(Debug)]
pub(super) struct Scene {
    /// The gateway, as the canary sees it.
    pub(super) subject: Subject,
    /// The address of the origin.
    pub(super) origin: SocketAddr,
    /// A destination where anything goes.
    pub(super) open: String,
    /// One where only TLS goes.
    pub(super) tls: Option<String>,
    /// One where only so many bytes go.
    pub(super) limited: Option<(String, u64)>,
    /// One whose name leads to a metadata service.
    pub(super) metadata: Option<String>,
    /// Those whose handshake has to fail, with what they show.
    pub(super) strangers: Vec<(&'static str, Subject)>,
    /// The gateway's events.
    pub(super) journal: Option<Journal>,
    /// Of the canary's certificate.
    pub(super) fingerprint: Option<String>,
    /// What arrives at the origin.
    pub(super) watch: Arc<Watch>,
}

/// What came back.
#[derive(Debug, Default)]
struct Answer {
    /// For people.
    said: String,
    status: Option<u16>,
    reason: Option<String>,
    session: Option<String>,
    body: String,
}

impl Scene {
    /// Does it, and says how it went.
    ///
    /// # Errors
    /// When it could not be done.
    pub(super) async fn strike(&self, attack: &Attack) -> anyhow::Result<Finding> {
        let mark = self.journal.as_ref().map(Journal::mark).transpose()?;
        let before = self.watch.seen();
        let (answer, refused) = match &attack.means {
            Means::Head(bytes) => self.head(bytes, before).await?,
            Means::Stream(destination) => self.stream(destination, before).await?,
            Means::Lie(bytes) => self.lie(bytes).await?,
            Means::FirstFlight(destination, bytes) => self.first_flight(destination, bytes, before).await?,
            Means::Stranger(stranger) => self.stranger(stranger, before).await?,
            Means::Split(destination, limit) => self.split(destination, *limit, before).await?,
        };
        if answer.status == Some(429) {
            bail!("refused for coming too soon, and not for what it is: wait longer with --pause");
        }
        let event = match (&self.journal, mark) {
            (Some(journal), Some(mark)) => {
                Some(journal.find(mark, |event| self.tells(event, attack, &answer)).await?)
            }
            _ => None,
        };
        let told = event.as_ref().and_then(Option::as_ref);
        let reason = told.and_then(|event| event["reason"].as_str().or_else(|| event["detail"].as_str()));
        Ok(Finding {
            name: attack.name.clone(),
            reason: answer.reason.or(reason.map(str::to_owned)),
            answer: answer.said,
            refused,
            evented: event.map(|event| event.is_some()),
        })
    }

    /// Whether an event is about this attack.
    fn tells(&self, event: &Value, attack: &Attack, answer: &Answer) -> bool {
        let kind = event["event_type"].as_str().unwrap_or_default();
        if matches!(attack.means, Means::Stranger(_)) {
            let here: Option<IpAddr> = source(self.subject.address.ip(), SOURCE);
            let from = |here: IpAddr| event["address"] == here.to_string();
            return kind == "system.handshake_refused" && here.is_none_or(from);
        }
        let kind_fits = match attack.means {
            Means::Lie(_) => kind == "agent.session_allowed",
            _ => {
                kind == "agent.session_denied"
                    || (kind == "agent.session_ended" && event["decision"] == "terminated")
            }
        };
        let same =
            |name: &str, value: &Option<String>| value.as_ref().is_none_or(|value| event[name] == **value);
        kind_fits
            && same("certificate_sha256", &self.fingerprint)
            && same("session", &answer.session)
            && same("reason", &answer.reason)
    }

    async fn head(&self, bytes: &[u8], before: Seen) -> anyhow::Result<(Answer, bool)> {
        let answer = self.ask(&self.subject, bytes).await?;
        let refused = answer.status.is_none_or(|status| status >= 400);
        Ok((answer, refused && self.watch.seen().connections == before.connections))
    }

    async fn stream(&self, destination: &str, before: Seen) -> anyhow::Result<(Answer, bool)> {
        let subject = self.subject.over(Protocol::H2 { streams: 1 });
        let shared = Shared::over(Link::to(&subject, SOURCE).await?).await?;
        let outcome = shared.connect(&subject, destination).await;
        let said = match &outcome {
            Ok(_) => "200".to_owned(),
            Err(fault) => fault.root_cause().to_string().rsplit(": ").next().unwrap_or_default().to_owned(),
        };
        let untouched = self.watch.seen().connections == before.connections;
        Ok((Answer { said, ..Answer::default() }, outcome.is_err() && untouched))
    }

    /// Refused, or served as what it asks for.
    async fn lie(&self, bytes: &[u8]) -> anyhow::Result<(Answer, bool)> {
        let mut answer = self.ask(&self.subject, bytes).await?;
        let seen_as = answer.body.trim().to_owned();
        let harmless = answer.status.is_none_or(|status| status >= 400) || seen_as == self.open;
        if answer.status == Some(200) {
            answer.said = format!("200, at the origin as {seen_as}");
        }
        Ok((answer, harmless))
    }

    async fn first_flight(
        &self,
        destination: &str,
        bytes: &[u8],
        before: Seen,
    ) -> anyhow::Result<(Answer, bool)> {
        let mut tunnel = tunnel::open_bare(&self.to(destination), SOURCE).await?;
        tunnel.write_all(bytes).await?;
        tunnel.flush().await?;
        let mut piece = [0; 64];
        let said = match tokio::time::timeout(PATIENCE, tunnel.read(&mut piece)).await {
            Ok(Ok(0)) => "200, then closed",
            Ok(Ok(_)) => "200, then an answer from behind",
            Ok(Err(_)) => "200, then reset",
            Err(_) => "200, then nothing",
        };
        let ended = matches!(said, "200, then closed" | "200, then reset");
        self.settled(before).await?;
        let refused = ended && self.watch.seen().bytes == before.bytes;
        Ok((Answer { said: said.into(), ..Answer::default() }, refused))
    }

    async fn stranger(&self, stranger: &Subject, before: Seen) -> anyhow::Result<(Answer, bool)> {
        let head = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.open);
        // With TLS 1.3 a client learns only behind its own handshake that its certificate was refused.
        let (answer, refused) = match self.ask(stranger, head.as_bytes()).await {
            Ok(answer) => {
                let refused = answer.status.is_none_or(|status| status >= 400);
                (answer, refused)
            }
            Err(fault) => {
                let said = format!("handshake: {}", fault.root_cause());
                (Answer { said, ..Answer::default() }, true)
            }
        };
        Ok((answer, refused && self.watch.seen().connections == before.connections))
    }

    async fn split(&self, destination: &str, limit: u64, before: Seen) -> anyhow::Result<(Answer, bool)> {
        let mut tunnels = Vec::new();
        for _ in 0..SESSIONS {
            match tunnel::open(&self.to(destination), SOURCE, Order::Take(u64::MAX)).await {
                Ok(tunnel) => tunnels.push(tunnel),
                // The budget of this window was spent by an earlier run.
                Err(fault) if tunnels.is_empty() && fault.to_string().contains(" 413 ") => {
                    let said = "413 at once: spent by an earlier run".into();
                    return Ok((Answer { said, ..Answer::default() }, true));
                }
                Err(fault) => return Err(fault),
            }
        }
        let mut pouring = JoinSet::new();
        for mut tunnel in tunnels {
            pouring.spawn(async move {
                let piece = vec![b'.'; PIECE];
                let mut left = limit;
                while left > 0 && tunnel.write_all(&piece).await.is_ok() {
                    left = left.saturating_sub(PIECE as u64);
                }
                let _flushed = tunnel.flush().await;
                let _end = tokio::time::timeout(PATIENCE, tunnel.read_u8()).await;
            });
        }
        while pouring.join_next().await.transpose()?.is_some() {}
        self.settled(before).await?;
        let came = self.watch.seen().bytes - before.bytes;
        let answer =
            Answer { said: format!("{came} of {limit} bytes came, then reset"), ..Answer::default() };
        Ok((answer, came <= limit))
    }

    /// The gateway, asked for one destination.
    fn to(&self, destination: &str) -> Subject {
        Subject { destinations: Arc::from([destination.to_owned()]), ..self.subject.clone() }
    }

    /// Sends bytes and reads the whole answer.
    async fn ask(&self, subject: &Subject, bytes: &[u8]) -> anyhow::Result<Answer> {
        let mut link = Link::to(subject, SOURCE).await?;
        let exchange = async {
            link.write_all(bytes).await?;
            link.flush().await?;
            let mut read = Vec::new();
            loop {
                if Answer::of(&read).is_some() {
                    return Ok(read);
                }
                if read.len() as u64 > LONGEST_ANSWER {
                    bail!("the answer has no end");
                }
                if link.read_buf(&mut read).await? == 0 {
                    return Ok(read);
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, exchange).await.context("no answer")??;
        let closed = || Answer { said: "closed".into(), ..Answer::default() };
        Ok(Answer::of(&read).unwrap_or_else(closed))
    }

    /// Waits until no more connections are open at the origin than were before: a proxy keeps some for requests to come.
    async fn settled(&self, before: Seen) -> anyhow::Result<()> {
        let over = async {
            loop {
                let seen = self.watch.seen();
                if seen.open() <= before.open() {
                    return;
                }
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::time::timeout(PATIENCE, over).await.context("connections are left at the origin")
    }
}

impl Answer {
    /// Reads an answer once all of it is there.
    fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let (head, body) = bytes.split_at_checked(end)?;
        let head = std::str::from_utf8(head).ok()?;
        let field = |wanted: &str| {
            let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let length = field("content-length").map_or(Some(0), |length| length.parse().ok())?;
        let body = String::from_utf8_lossy(body.get(..length)?).into_owned();
        let status = head.split(' ').nth(1)?;
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |name: &str| told.get(name)?.as_str().map(str::to_owned);
        let said = status.to_owned();
        Some(Self {
            said,
            status: status.parse().ok(),
            reason: text("reason"),
            session: text("session"),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_why_and_in_which_session() {
        let body = r#"{"reason":"destination_not_listed","session":"s-1"}"#;
        let text = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = Answer::of(text.as_bytes()).unwrap();
        assert_eq!(answer.status, Some(403));
        assert_eq!(answer.reason.as_deref(), Some("destination_not_listed"));
        assert_eq!(answer.session.as_deref(), Some("s-1"));
        for cut in 0..text.len() {
            assert!(Answer::of(text.get(..cut).unwrap().as_bytes()).is_none(), "{cut}");
        }
    }

    #[test]
    fn an_answer_without_a_reason_is_one_too() {
        let answer = Answer::of(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na:80").unwrap();
        assert_eq!((answer.status, answer.reason, answer.body.as_str()), (Some(200), None, "a:80"));
    }
}
