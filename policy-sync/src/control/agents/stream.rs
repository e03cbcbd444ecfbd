//! One stream of server-sent events, from connecting to its end.
//!
//! It waits for its turn on the board, for the end of the manifest's life, or to say that it is still there; then it looks what
//! the agent sees now, and tells what is new. It ends when the certificate is not good any more, and after a while by itself,
//! so that a client proves itself anew.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Agents;
use super::board::{Current, Entry};
use super::caller::Caller;
use super::places::Place;
use super::view::{News, View};
use crate::log::Position;

/// How often a stream says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts; less than a connection may.
const LONGEST: Duration = Duration::from_secs(9 * 60);
/// How many revocations since the client's last event are told one by one.
const MOST_MISSED: usize = 100;

/// The state of one stream.
pub(super) struct Stream {
    agents: Arc<Agents>,
    caller: Caller,
    entry: Entry,
    seen: View,
    queue: VecDeque<Bytes>,
    ended: bool,
    until: Instant,
    heartbeat: Instant,
    _place: Place,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.agents.metrics.streams.dec();
    }
}

impl Stream {
    /// A stream that begins with how things stand, and what was missed since the event of this id.
    pub(super) fn new(agents: Arc<Agents>, caller: Caller, last: Option<&str>, place: Place) -> Self {
        agents.metrics.streams.inc();
        let entry = agents.board.enter(&caller);
        let current = agents.board.current();
        let seen = View::of(&caller, &current, now());
        let began = Instant::now();
        let mut stream = Self {
            agents,
            caller,
            entry,
            seen,
            queue: VecDeque::new(),
            ended: false,
            until: began + LONGEST,
            heartbeat: began + HEARTBEAT,
            _place: place,
        };
        stream.greet(&current, last.and_then(|text| place_of(text, &current.position)));
        stream.look();
        stream
    }

    /// As a body.
    pub(super) fn into_body(self) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(self, |mut stream| async move { stream.next().await.map(|bytes| (Ok(bytes), stream)) })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let over = self.seen.manifest.as_ref().map(|manifest| manifest.expires_at);
        tokio::select! {
            biased;
            () = self.entry.woken() => self.look(),
            () = expiry(over) => self.look(),
            () = tokio::time::sleep_until(self.until) => self.ended = true,
            () = tokio::time::sleep_until(self.heartbeat) => self.beat(),
        }
    }

    /// Says that the stream is still there, if its certificate still is.
    fn beat(&mut self) {
        self.heartbeat = Instant::now() + HEARTBEAT;
        self.queue.push_back(Bytes::from_static(b": still here\n\n"));
        self.ended |= self.agents.verifier.trust().recheck(&self.caller.device, now()).is_err();
    }

    fn greet(&mut self, current: &Current, after: Option<u64>) {
        self.queue.push_back(Bytes::from_static(b"retry: 2000\n\n"));
        let missed = after.map(|after| self.missed(after)).unwrap_or_default();
        let position = current.position;
        // Until everything that was missed is told, a client that loses the connection has to begin before it again.
        let id = if missed.is_empty() { Some(position.sequence) } else { None };
        self.tell(&News::Standing, &position, id);
        let last = missed.len().saturating_sub(1);
        for (number, (sequence, news)) in missed.iter().enumerate() {
            let id = if number == last { position.sequence } else { *sequence };
            self.tell(news, &position, Some(id));
        }
    }

    /// The revocations and liftings that concern the caller since this sequence, in order.
    fn missed(&self, after: u64) -> Vec<(u64, News)> {
        let in_force = &self.seen.revocations;
        let mut missed: Vec<_> = self.agents.plane.with_state(|state| {
            let came = in_force.iter().filter_map(|(id, reason)| {
                let sequence = state.sequence_of(*id).filter(|sequence| *sequence > after)?;
                Some((sequence, News::Revoked(*id, *reason)))
            });
            came.collect()
        });
        missed.sort_by_key(|(sequence, _)| *sequence);
        missed.truncate(MOST_MISSED);
        missed
    }

    /// Looks what is new, and queues it.
    fn look(&mut self) {
        loop {
            let current = self.agents.board.current();
            let view = View::of(&self.caller, &current, now());
            let news = view.since(&self.seen);
            self.seen = view;
            for news in news {
                self.tell(&news, &current.position, Some(current.position.sequence));
            }
            self.ended |= current.certificates_hold(&self.caller).is_err();
            // What concerns it may be more than before, and may have changed before it was entered there.
            if !self.entry.follow(&self.seen, &current.policy) {
                return;
            }
        }
    }

    fn tell(&mut self, news: &News, position: &Position, id: Option<u64>) {
        let id = id.map(|sequence| format!("id: {}-{sequence}\n", position.epoch)).unwrap_or_default();
        let data = news.data(&self.caller, &self.seen);
        self.queue.push_back(format!("{id}event: {}\ndata: {data}\n\n", news.as_str()).into());
        self.agents.metrics.told.with_label_values(&[news.as_str()]).inc();
    }
}

/// Returns at this Unix second, by the wall clock, which can be set meanwhile; never for a second that is over.
async fn expiry(at: Option<i64>) {
    let left = at.map(|at| at.saturating_sub(now())).and_then(|left| u64::try_from(left).ok());
    match left.filter(|left| *left > 0) {
        Some(left) => tokio::time::sleep(Duration::from_secs(left)).await,
        None => std::future::pending().await,
    }
}

/// The sequence of an event's id, when it is of this log and not ahead of it.
fn place_of(text: &str, position: &Position) -> Option<u64> {
    let (epoch, sequence) = text.split_once('-')?;
    let (epoch, sequence): (u64, u64) = (epoch.parse().ok()?, sequence.parse().ok()?);
    (epoch == position.epoch && sequence <= position.sequence).then_some(sequence)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}
