//! A control plane in memory that keeps the true log, and a link to it that does what the test says.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::envelope::Envelope;
use crate::keys::{KeyRing, Role, SigningKey, TrustedKey};
use crate::log::{Chunks, Entry, Heartbeat, Noted, Position, Record, SnapshotHead};
use crate::signed::{sign_lift, sign_manifest, sign_revocation};
use crate::target::Target;
use crate::testing::{Draft, device, key};
use crate::transport::{Frame, FrameSink, LeaseAnswer, LeaseRequest, Link, Report, TransportFault};

pub(super) struct Plane {
    pub(super) control: SigningKey,
    pub(super) author: SigningKey,
    pub(super) revoker: SigningKey,
    pub(super) approver: SigningKey,
    /// When manifests are issued; each one a second later.
    issued: i64,
    pub(super) position: Position,
    pub(super) log: Vec<(Entry, Bytes)>,
}

impl Plane {
    pub(super) fn new() -> Self {
        Self::founded(Timestamp::now().as_second() - 3600)
    }

    pub(super) fn founded(epoch: i64) -> Self {
        Self {
            control: key("control-1"),
            author: key("author"),
            revoker: key("revoker"),
            approver: key("approver"),
            issued: Timestamp::now().as_second() - 600,
            position: Position::start_of(epoch.unsigned_abs()),
            log: Vec::new(),
        }
    }

    /// Another log under the same keys, founded later and empty.
    pub(super) fn found_anew(&mut self) {
        self.position = Position::start_of(self.position.epoch + 60);
        self.log.clear();
    }

    pub(super) fn ring(&self) -> KeyRing {
        self.ring_of(&[
            (&self.control, Role::Control),
            (&self.author, Role::Author),
            (&self.revoker, Role::Revoker),
            (&self.approver, Role::Approver),
        ])
    }

    pub(super) fn ring_of(&self, keys: &[(&SigningKey, Role)]) -> KeyRing {
        let mut ring = KeyRing::default();
        for (key, role) in keys {
            ring.add(TrustedKey::new(key.id().clone(), key.public(), &[*role])).unwrap();
        }
        ring
    }

    /// Writes an entry down and says the record.
    pub(super) fn append(&mut self, entry: Entry) -> Frame {
        let sealed = Record::seal(&self.position, &entry, "test", Timestamp::now(), &self.control).unwrap();
        self.position = sealed.position;
        self.log.push((entry, sealed.envelope.clone()));
        Frame::Record(sealed.envelope)
    }

    /// A manifest for `agent` on `device-1`, later than every other.
    pub(super) fn manifest(&mut self, id: &str, agent: &str) -> Entry {
        self.issued += 1;
        let draft = Draft { id, agent, ..Draft::default() }.read();
        Entry::Manifest(sign_manifest(draft, self.issued, &self.author).to_json().into())
    }

    pub(super) fn revocation(&self, name: &str) -> (Frame, Entry) {
        let target = Target::Device(device(name));
        let signed = sign_revocation(target, "test", Timestamp::now(), &self.revoker).unwrap();
        let envelope = Bytes::from(signed.0.to_json());
        (Frame::Hint(envelope.clone()), Entry::Revocation(envelope))
    }

    /// The lifting of what this entry revoked.
    pub(super) fn lift(&self, revoked: &Entry) -> Entry {
        let Entry::Revocation(envelope) = revoked else { panic!("{revoked:?}") };
        let read = Envelope::read(envelope).unwrap();
        let crate::signed::Statement::Revoke(revocation) =
            crate::signed::verify_statement(&read, &self.ring()).unwrap()
        else {
            panic!("no revocation")
        };
        Entry::Lift(
            sign_lift(&revocation, "test", Timestamp::now(), &self.approver).unwrap().to_json().into(),
        )
    }

    /// The withdrawal of this manifest.
    pub(super) fn withdrawal(entry: &Entry) -> Entry {
        let Entry::Manifest(envelope) = entry else { panic!("{entry:?}") };
        let read = Envelope::read(envelope).unwrap();
        let signed = crate::SignedManifest::read(read.unverified_payload(), Vec::new()).unwrap();
        Entry::Withdrawal { id: signed.manifest.id, digest: signed.digest }
    }

    pub(super) fn heartbeat(&self) -> Frame {
        self.heartbeat_at(Timestamp::now())
    }

    pub(super) fn heartbeat_at(&self, now: Timestamp) -> Frame {
        let Position { epoch, sequence, .. } = self.position;
        Frame::Heartbeat(Heartbeat { epoch, sequence, now }.seal(&self.control))
    }

    pub(super) fn records_after(&self, after: u64, most: usize) -> Vec<Bytes> {
        let after = usize::try_from(after).unwrap();
        self.log.iter().skip(after).take(most).map(|(_, record)| record.clone()).collect()
    }

    /// A snapshot at the present position that consists of these entries, each in a chunk of its own.
    pub(super) fn snapshot_of(&self, entries: &[Entry]) -> (Bytes, HashMap<[u8; 32], Bytes>) {
        let cut = |entry: &Entry| {
            let mut chunks = Chunks::default();
            let noted =
                Noted { sequence: 1, at: Timestamp::UNIX_EPOCH, by: "test".into(), entry: entry.clone() };
            assert_eq!(chunks.add(&noted).unwrap(), None);
            chunks.finish().unwrap()
        };
        let chunks: Vec<_> = entries.iter().map(cut).collect();
        let digests = chunks.iter().map(|(digest, _)| *digest).collect();
        let head = SnapshotHead { position: self.position, at: Timestamp::now(), chunks: digests };
        (head.seal(&self.control), chunks.into_iter().collect())
    }
}

/// The gateway's end, and what the test wants of it.
#[derive(Default)]
pub(super) struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    /// Whether the control plane can be reached.
    pub(super) up: bool,
    /// What is answered to those who ask for records: everything from here on.
    pub(super) records: Vec<Bytes>,
    /// Records up to this sequence are no longer there.
    pub(super) dropped: u64,
    pub(super) snapshot: Option<Bytes>,
    pub(super) chunks: HashMap<[u8; 32], Bytes>,
    pub(super) reports: Vec<Report>,
    /// How often somebody connected.
    pub(super) connections: usize,
    listener: Option<mpsc::Sender<Frame>>,
}

const BOUND: Duration = Duration::from_secs(20);

impl Wire {
    pub(super) fn up() -> Arc<Self> {
        let wire = Self::default();
        wire.state().up = true;
        Arc::new(wire)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has whoever asks told what the plane's log holds now.
    pub(super) fn serve(&self, plane: &Plane) {
        self.state().records = plane.records_after(0, usize::MAX);
    }

    /// Cuts the connection, and lets nobody connect.
    pub(super) fn go_away(&self) {
        let mut state = self.state();
        state.up = false;
        state.listener = None;
    }

    pub(super) fn come_back(&self) {
        self.state().up = true;
    }

    /// Sends a frame to whoever listens; waits for a listener first.
    pub(super) fn send(&self, frame: &Frame) {
        let listener =
            self.wait("a listener", |state| state.listener.clone().filter(|listener| !listener.is_closed()));
        listener.try_send(frame.clone()).unwrap();
    }

    /// Waits until what is asked for is there.
    pub(super) fn wait<T>(&self, what: &str, mut done: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + BOUND;
        let mut state = self.state();
        loop {
            if let Some(found) = done(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it did not come: {what}; reports: {:?}", state.reports.last());
            state = self.changed.wait_timeout(state, left.min(Duration::from_millis(20))).unwrap().0;
        }
    }

    /// Waits until this gateway reports that it has come so far.
    pub(super) fn reported(&self, position: Position) -> Report {
        self.wait(&format!("a report of {position}"), |state| {
            let last = state.reports.last()?;
            ((last.epoch, last.sequence) == (position.epoch, position.sequence)).then(|| last.clone())
        })
    }

    fn away() -> TransportFault {
        TransportFault("the control plane is away".into())
    }

    fn answer<T>(&self, with: impl FnOnce(&State) -> T) -> Result<T, TransportFault> {
        let state = self.state();
        if state.up { Ok(with(&state)) } else { Err(Self::away()) }
    }
}

impl Link for Wire {
    fn follow<'a>(&'a self, hello: Report, mut each: FrameSink<'a>) -> BoxFuture<'a, TransportFault> {
        Box::pin(async move {
            let mut frames = {
                let mut state = self.state();
                if !state.up {
                    return Self::away();
                }
                let (listener, frames) = mpsc::channel(4096);
                state.listener = Some(listener);
                state.connections += 1;
                state.reports.push(hello);
                self.changed.notify_all();
                frames
            };
            while let Some(frame) = frames.recv().await {
                each(frame);
            }
            Self::away()
        })
    }

    fn report(&self, report: Report) {
        let mut state = self.state();
        if state.up {
            state.reports.push(report);
            self.changed.notify_all();
        }
    }

    fn records(&self, after: &Position, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        let after = usize::try_from(after.sequence).unwrap();
        let answer = self.answer(|state| match u64::try_from(after) {
            Ok(after) if after < state.dropped => Vec::new(),
            _ => state.records.iter().skip(after).take(most).cloned().collect(),
        });
        Box::pin(async move { answer })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        let answer = self.answer(|state| state.snapshot.clone());
        Box::pin(async move { answer })
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        let answer = self.answer(|state| state.chunks.get(digest).cloned());
        Box::pin(async move { answer })
    }

    fn lease(&self, _: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        Box::pin(async { Err(Self::away()) })
    }
}
