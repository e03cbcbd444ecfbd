//! What keeps the log short: a snapshot now and then, and the way back from one.
//!
//! A snapshot is the one before it and the records since, without what is needed no more. Chunks of which everything is needed
//! stay as they are, so a snapshot costs what has changed, and its order is that of the log. Whoever replays one comes to the
//! same state as whoever has followed from the start.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::fault::PlaneFault;
use super::meaning::Meaning;
use super::state::{Needed, Place, State};
use super::submission::Inner;
use super::writing::next_record;
use crate::keys::{KeyRing, SigningKey};
use crate::log::{
    CHUNK, Chunks, Entry, LogFault, Noted, Position, Record, SnapshotHead, read_chunk, read_noted,
};
use crate::snapshot::PolicyBounds;
use crate::transport::{AppendFault, Transport, TransportFault};

/// How many records there are between two snapshots at least; with a large state it is an eighth of what it holds.
const EVERY: u64 = 10_000;
/// How many records stay in the log before a snapshot, for gateways that were away for a while.
const KEPT: u64 = 10_000;
/// How many records are read at a time.
const PAGE: usize = 500;
/// The cell that says when the log was founded.
const FOUNDED: &str = "log/epoch";

/// Reads what the log comes to; founds it when there is none.
pub(super) async fn replay(
    transport: &dyn Transport,
    ring: &KeyRing,
    key: &SigningKey,
    bounds: PolicyBounds,
) -> Result<State, PlaneFault> {
    let head = match transport.snapshot().await? {
        Some(head) => head,
        None => found(transport, key).await?,
    };
    let head = SnapshotHead::open(&head, ring)
        .map_err(|fault| PlaneFault::Damaged { after: Position::start_of(0), fault })?;
    let mut state = State::new(head.position, bounds);
    for digest in &head.chunks {
        let chunk = transport.chunk(digest).await?.ok_or(PlaneFault::Incomplete { at: head.position })?;
        let noted = read_noted(digest, &chunk);
        for noted in noted.map_err(|fault| PlaneFault::Damaged { after: head.position, fault })? {
            take_over(&mut state, &noted.entry, Place::of(&noted, *digest));
        }
    }
    loop {
        let page = transport.read(state.position().sequence, PAGE).await?;
        if page.is_empty() {
            return Ok(state);
        }
        for envelope in page {
            let Record { position, at, by, entry, .. } = next_record(&envelope, ring, &state.position())?;
            let place = Place { sequence: position.sequence, at, by: &by, chunk: None };
            take_over(&mut state, &entry, place);
            state.advance(position);
        }
    }
}

fn take_over(state: &mut State, entry: &Entry, place: Place<'_>) {
    match Meaning::read(entry, place.at.as_second()) {
        Ok(meaning) => state.apply(meaning, place),
        Err(fault) => {
            tracing::warn!(sequence = place.sequence, fault, "an entry of the log cannot be understood");
        }
    }
}

/// Founds a log. Of several control planes that do so at once, one decides on the epoch.
async fn found(transport: &dyn Transport, key: &SigningKey) -> Result<Bytes, PlaneFault> {
    let now = Timestamp::now();
    let ours = Bytes::from(unix(now).to_string());
    match transport.set_cell(FOUNDED, None, ours).await {
        Ok(()) | Err(AppendFault::Taken) => {}
        Err(AppendFault::Transport(fault)) => return Err(fault.into()),
    }
    let epoch = transport.cell(FOUNDED).await?.and_then(|(_, value)| epoch(&value));
    let epoch = epoch.ok_or_else(|| TransportFault(format!("the cell {FOUNDED} holds no epoch")))?;
    let head = SnapshotHead { position: Position::start_of(epoch), at: now, chunks: Vec::new() }.seal(key);
    transport.keep_snapshot(head.clone(), 0).await?;
    Ok(head)
}

fn epoch(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn unix(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}

/// Begins a new epoch with everything that the log comes to: the way on after a restore from a backup, when gateways may have
/// followed further than the log remembers. Sequences go on.
pub(super) async fn found_anew(
    transport: &dyn Transport,
    key: &SigningKey,
    state: &mut State,
) -> Result<(), PlaneFault> {
    let now = Timestamp::now();
    let needed = Arc::new(state.needed(now.as_second()));
    let Built { chunks, moved } = build(transport, &needed).await?;
    let old = needed.position;
    let position = Position { epoch: unix(now).max(old.epoch + 1), ..old };
    let head = SnapshotHead { position, at: now, chunks }.seal(key);
    transport.keep_snapshot(head, old.sequence).await?;
    let cell = transport.cell(FOUNDED).await?;
    let epoch = Bytes::from(position.epoch.to_string());
    if let Err(AppendFault::Transport(fault)) =
        transport.set_cell(FOUNDED, cell.map(|(version, _)| version), epoch).await
    {
        return Err(fault.into());
    }
    state.moved(&moved);
    state.advance(position);
    tracing::warn!(from = %old, to = %position, "a new epoch of the log is founded");
    Ok(())
}

/// Takes a snapshot whenever the log has grown enough, until it is aborted.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut changes = inner.changes.subscribe();
    let mut due = latest(&inner).await.saturating_add(EVERY);
    loop {
        let position = *changes.borrow_and_update();
        if position.sequence >= due {
            match take(&inner).await {
                Ok(taken) => due = taken.sequence.saturating_add(interval(&inner)),
                Err(fault) => {
                    tracing::error!(%fault, "no snapshot of the log could be taken; it grows on");
                    due = position.sequence.saturating_add(EVERY / 10);
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The sequence of the latest snapshot.
async fn latest(inner: &Inner) -> u64 {
    let head = inner.transport.snapshot().await.ok().flatten();
    let ring = &inner.authorities.load().ring;
    head.and_then(|head| SnapshotHead::open(&head, ring).ok()).map_or(0, |head| head.position.sequence)
}

fn interval(inner: &Inner) -> u64 {
    let state = inner.state();
    let held = state.policy().manifest_count() + state.policy().revocations().len() + state.lift_count();
    EVERY.max(u64::try_from(held / 8).unwrap_or(0))
}

/// Takes a snapshot of what the log comes to now.
pub(super) async fn take(inner: &Arc<Inner>) -> Result<Position, PlaneFault> {
    let now = Timestamp::now();
    let needed = Arc::new(inner.state().needed(now.as_second()));
    let Built { chunks, moved } = build(&*inner.transport, &needed).await?;
    let position = needed.position;
    let head = SnapshotHead { position, at: now, chunks }.seal(&inner.keys.control);
    inner.transport.keep_snapshot(head, position.sequence.saturating_sub(KEPT)).await?;
    inner.state().moved(&moved);
    inner.metrics.snapshots.inc();
    tracing::info!(%position, "a snapshot of the log is taken");
    Ok(position)
}

/// The chunks of a snapshot, all of them kept.
struct Built {
    chunks: Vec<[u8; 32]>,
    /// The digest of every manifest in them, and its chunk.
    moved: Vec<([u8; 32], [u8; 32])>,
}

async fn build(transport: &dyn Transport, needed: &Arc<Needed>) -> Result<Built, PlaneFault> {
    let built = Built { chunks: Vec::new(), moved: Vec::new() };
    let mut builder = Builder { transport, needed, chunks: Chunks::default(), open: Vec::new(), built };
    let mut after = 0;
    if let Some(head) = transport.snapshot().await? {
        // Our own word, or that of another control plane, verified when this one started.
        let head = SnapshotHead::read_own(&head).map_err(|fault| builder.damaged(fault))?;
        after = head.position.sequence;
        for digest in &head.chunks {
            let chunk = transport.chunk(digest).await?;
            let chunk = chunk.ok_or(PlaneFault::Incomplete { at: head.position })?;
            builder.old_chunk(*digest, chunk).await?;
        }
    }
    while after < needed.position.sequence {
        let page = transport.read(after, PAGE).await?;
        let of = needed.clone();
        let read = off_the_runtime(move || of.sift_records(&page)).await?;
        let (last, kept) = read.map_err(|fault| builder.damaged(fault))?;
        after = last.ok_or_else(|| TransportFault("the log ends before the snapshot's position".into()))?;
        builder.add_all(kept).await?;
    }
    builder.close().await?;
    Ok(builder.built)
}

/// Reading thousands of entries takes a while, and must not keep a hint waiting for a thread of the runtime.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TransportFault> {
    tokio::task::spawn_blocking(work).await.map_err(|fault| TransportFault(fault.to_string()))
}

/// An entry that is needed; with the digest of the manifest if it is one.
type Kept = (Noted, Option<[u8; 32]>);

impl Needed {
    /// Those entries that are needed, and whether they are all.
    fn sift(&self, entries: Vec<Noted>) -> (Vec<Kept>, bool) {
        let count = entries.len();
        let sifted = entries.into_iter().filter_map(|noted| {
            let meaning = Meaning::read(&noted.entry, noted.at.as_second()).ok()?;
            let digest = match &meaning {
                Meaning::Manifest(signed) => Some(signed.digest),
                Meaning::Withdrawal { .. }
                | Meaning::Revocation(_)
                | Meaning::Lift(_)
                | Meaning::Crl { .. } => None,
            };
            self.holds(noted.sequence, &meaning).then_some((noted, digest))
        });
        let kept: Vec<_> = sifted.collect();
        let all = kept.len() == count;
        (kept, all)
    }

    /// The last sequence of a page of records, and what is needed of those up to the position.
    fn sift_records(&self, page: &[Bytes]) -> Result<(Option<u64>, Vec<Kept>), LogFault> {
        let (mut last, mut entries) = (None, Vec::new());
        for envelope in page {
            let Record { position: Position { sequence, .. }, at, by, entry, .. } =
                Record::read_own(envelope)?;
            last = Some(sequence);
            if sequence <= self.position.sequence {
                entries.push(Noted { sequence, at, by, entry });
            }
        }
        Ok((last, self.sift(entries).0))
    }
}

struct Builder<'a> {
    transport: &'a dyn Transport,
    needed: &'a Arc<Needed>,
    chunks: Chunks,
    /// The digests of the manifests in the chunk that is being filled.
    open: Vec<[u8; 32]>,
    built: Built,
}

impl Builder<'_> {
    /// Keeps a chunk as it is when everything in it is needed and it is worth one; else goes through it.
    async fn old_chunk(&mut self, digest: [u8; 32], chunk: Bytes) -> Result<(), PlaneFault> {
        let (needed, worth) = (self.needed.clone(), chunk.len() >= CHUNK / 2);
        let sifted = off_the_runtime(move || Ok(needed.sift(read_noted(&digest, &chunk)?))).await?;
        let (kept, all) = sifted.map_err(|fault| self.damaged(fault))?;
        if !all || !worth {
            return self.add_all(kept).await;
        }
        self.close().await?;
        self.built.chunks.push(digest);
        let manifests = kept.into_iter().filter_map(|(_, manifest)| manifest);
        self.built.moved.extend(manifests.map(|manifest| (manifest, digest)));
        Ok(())
    }

    async fn add_all(&mut self, kept: Vec<Kept>) -> Result<(), PlaneFault> {
        for (noted, manifest) in kept {
            self.open.extend(manifest);
            let full = self.chunks.add(&noted).map_err(|fault| self.damaged(fault))?;
            self.keep(full).await?;
        }
        Ok(())
    }

    /// Finishes the chunk that is being filled.
    async fn close(&mut self) -> Result<(), PlaneFault> {
        let rest = self.chunks.finish();
        self.keep(rest).await
    }

    async fn keep(&mut self, chunk: Option<([u8; 32], Bytes)>) -> Result<(), PlaneFault> {
        if let Some((digest, chunk)) = chunk {
            self.transport.keep_chunk(&digest, chunk).await?;
            self.built.chunks.push(digest);
            self.built.moved.extend(self.open.drain(..).map(|manifest| (manifest, digest)));
        }
        Ok(())
    }

    fn damaged(&self, fault: LogFault) -> PlaneFault {
        PlaneFault::Damaged { after: self.needed.position, fault }
    }
}

/// The envelope of a live manifest, from its record or from the snapshot.
pub(super) async fn manifest_envelope(
    inner: &Inner,
    digest: &[u8; 32],
) -> Result<Option<Bytes>, TransportFault> {
    let Some(note) = inner.state().manifest(digest).cloned() else { return Ok(None) };
    let page = inner.transport.read(note.sequence.saturating_sub(1), 1).await?;
    let record = page.first().and_then(|envelope| Record::read_own(envelope).ok());
    if let Some(Record { entry: Entry::Manifest(envelope), .. }) =
        record.filter(|record| record.position.sequence == note.sequence)
    {
        return Ok(Some(envelope));
    }
    // The note may be older than the latest snapshot: look where it says now.
    let chunk = inner.state().manifest(digest).and_then(|note| note.chunk);
    let Some(of) = chunk else { return Ok(None) };
    let Some(chunk) = inner.transport.chunk(&of).await? else { return Ok(None) };
    let entries = read_chunk(&of, &chunk).unwrap_or_default();
    Ok(entries.into_iter().find_map(|entry| match entry {
        Entry::Manifest(envelope) if holds(&envelope, digest) => Some(envelope),
        _ => None,
    }))
}

fn holds(envelope: &[u8], digest: &[u8; 32]) -> bool {
    crate::envelope::Envelope::read(envelope)
        .is_ok_and(|envelope| crate::log::sha256(envelope.unverified_payload()) == *digest)
}
