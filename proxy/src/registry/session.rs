//! What is one live session, seen from outside its task? Its identity, its authority, its counters and its gate.
//!
//! A [`Session`] is shared between the task that serves it and everybody who may end it. It holds no socket and no
//! buffer. A kept-alive or HTTP/2 connection is registered as a session of the kind [`Kind::Connection`]: it forwards
//! nothing by itself, but a revoked device must lose it too.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use certs::VerifiedDevice;
use config::{AgentName, Destination, Reason};
use policy_sync::{Asking, Grant, LiveManifest};
use uuid::Uuid;

use super::gate::Gate;
use crate::budget::Meter;

/// What a registry entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A device's TLS connection, between requests or carrying HTTP/2 streams.
    Connection,
    /// A CONNECT tunnel.
    Tunnel,
    /// One plain-HTTP request and its response, or the WebSocket it became.
    Forward,
}

impl Kind {
    /// The word used in `sessions` and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Tunnel => "tunnel",
            Self::Forward => "forward",
        }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Between the request and the decision.
    Deciding = 0,
    /// Looking the destination up.
    Resolving = 1,
    /// Connecting to the destination.
    Dialling = 2,
    /// Reading the first flight, before a byte has gone upstream.
    Inspecting = 3,
    /// Bytes may flow.
    Open = 4,
    /// A limit is used up: what was granted is still on its way to the destination, nothing follows it.
    Settling = 5,
}

impl Stage {
    /// The word used in `sessions`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deciding => "deciding",
            Self::Resolving => "resolving",
            Self::Dialling => "dialling",
            Self::Inspecting => "inspecting",
            Self::Open => "open",
            Self::Settling => "settling",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Deciding,
            1 => Self::Resolving,
            2 => Self::Dialling,
            3 => Self::Inspecting,
            4 => Self::Open,
            _ => Self::Settling,
        }
    }
}

/// What a session was allowed, and by what: enough to decide it again when the policy changes.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The manifest that allows the session.
    pub manifest: Arc<LiveManifest>,
    /// The deciding rule as the manifest spells it; `None` where report mode let the session through.
    pub rule: Option<String>,
    /// The revision that decided.
    pub revision: u64,
}

impl Authority {
    /// What a grant says.
    #[must_use]
    pub fn of(grant: &Grant) -> Self {
        let entry = grant.rule.and_then(|rule| grant.manifest.rules.allow_entry(rule));
        Self {
            manifest: Arc::clone(&grant.manifest),
            rule: entry.map(|entry| entry.pattern.to_string()),
            revision: grant.revision,
        }
    }
}

/// What a session is indexed under besides its device. The lock orders attaching and leaving, so that neither is undone by
/// the other.
#[derive(Debug, Default)]
pub(super) struct Attachment {
    pub(super) authority: Option<Arc<Authority>>,
    pub(super) left: bool,
}

/// One live session.
#[derive(Debug)]
pub struct Session {
    /// Registry key, unique for the life of the process.
    pub key: u64,
    /// The public name of the session.
    pub id: Uuid,
    /// What the entry stands for.
    pub kind: Kind,
    /// Who is speaking, as its verified certificate path says.
    pub device: Arc<VerifiedDevice>,
    /// The agent that the request named, where the certificate names none.
    pub requested_agent: Option<AgentName>,
    /// Where the request wants to go; `None` for a connection.
    pub destination: Option<Destination>,
    /// Asked before every write upstream, fallen when the session is to end.
    pub gate: Gate,
    pub(super) attachment: Mutex<Attachment>,
    pub(super) cut_at: OnceLock<Instant>,
    reported: [AtomicU64; 2],
    meter: OnceLock<Arc<Meter>>,
    began: Instant,
    stage: AtomicU8,
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    /// Milliseconds after `began` at which bytes last moved.
    moved: AtomicU64,
    /// From this Unix second on its certificate or its manifest has expired.
    ends_at: AtomicI64,
    /// Milliseconds after `began` at which it was last said to be still open.
    told: AtomicU64,
}

impl Session {
    pub(super) fn new(key: u64, kind: Kind, entry: Entry) -> Self {
        Self {
            key,
            id: Uuid::now_v7(),
            kind,
            ends_at: AtomicI64::new(entry.device.not_after.saturating_add(1)),
            device: entry.device,
            requested_agent: entry.requested_agent,
            destination: entry.destination,
            gate: Gate::default(),
            attachment: Mutex::default(),
            cut_at: OnceLock::new(),
            meter: OnceLock::new(),
            reported: [AtomicU64::new(0), AtomicU64::new(0)],
            began: Instant::now(),
            stage: AtomicU8::new(Stage::Deciding as u8),
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// The question that the decision function is asked for this session at `now` (Unix seconds); `None` for a
    /// connection, which asks for no destination. A session that `authority` opened asks as that manifest's agent: another
    /// manifest of the device neither ends nor adopts it.
    #[must_use]
    pub fn asking<'a>(&'a self, authority: Option<&'a Authority>, now: i64) -> Option<Asking<'a>> {
        let opened_as = authority.map(|authority| &authority.manifest.manifest.agent);
        self.destination.as_ref().map(|destination| Asking {
            device: &self.device.device,
            certificate_agent: self.device.agent.as_ref(),
            requested_agent: opened_as.or(self.requested_agent.as_ref()),
            certificates: &self.device.chain,
            destination,
            now,
        })
    }

    /// What allows the session, once it was decided.
    #[must_use]
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.attachment().authority.clone()
    }

    pub(super) fn attachment(&self) -> MutexGuard<'_, Attachment> {
        self.attachment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the session's writes are charged to.
    pub fn charge_to(&self, meter: &Arc<Meter>) {
        let _once = self.meter.set(Arc::clone(meter));
    }

    /// What the session's writes are charged to, once its budget is open.
    #[must_use]
    pub fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.get()
    }

    /// Notes how far the session has come.
    pub fn enter_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// How far the session has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage::from_u8(self.stage.load(Ordering::Relaxed))
    }

    /// Counts bytes handed to the upstream socket.
    pub fn count_upload(&self, bytes: usize) {
        self.uploaded.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Counts bytes taken from the upstream socket for the device.
    pub fn count_download(&self, bytes: usize) {
        self.downloaded.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// Notes that bytes have just moved.
    pub fn touch(&self) {
        self.moved.store(millis(self.began.elapsed()), Ordering::Relaxed);
    }

    /// Bytes handed to the upstream socket so far.
    #[must_use]
    pub fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Bytes taken from the upstream socket for the device so far.
    #[must_use]
    pub fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    /// Time since the session was entered.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    /// As [`Self::age`], for whoever looks at many sessions at one moment.
    #[must_use]
    pub fn age_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Time since bytes last moved.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle_at(Instant::now())
    }

    /// As [`Self::idle`], for whoever looks at many sessions at one moment.
    #[must_use]
    pub fn idle_at(&self, now: Instant) -> Duration {
        self.age_at(now).saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }

    /// The Unix second from which on its certificate or the manifest that allows it has expired.
    #[must_use]
    pub fn ends_at(&self) -> i64 {
        self.ends_at.load(Ordering::Relaxed)
    }

    /// Takes note of how long `authority` lasts.
    pub(super) fn lasts_with(&self, authority: &Authority) {
        let certificate = self.device.not_after.saturating_add(1);
        self.ends_at.store(certificate.min(authority.manifest.expires_at), Ordering::Relaxed);
    }

    /// Time since it was last said to be still open, or since it was entered.
    #[must_use]
    pub fn untold_at(&self, now: Instant) -> Duration {
        self.age_at(now).saturating_sub(Duration::from_millis(self.told.load(Ordering::Relaxed)))
    }

    /// Notes that it has been said to be still open.
    pub fn tell(&self, now: Instant) {
        self.told.store(millis(self.age_at(now)), Ordering::Relaxed);
    }

    /// Bytes up and down since this was last asked: what is to be added to process-wide counters now.
    #[must_use]
    pub fn unreported(&self) -> (u64, u64) {
        let [up, down] = &self.reported;
        let (uploaded, downloaded) = (self.uploaded(), self.downloaded());
        (
            uploaded.saturating_sub(up.swap(uploaded, Ordering::Relaxed)),
            downloaded.saturating_sub(down.swap(downloaded, Ordering::Relaxed)),
        )
    }

    /// Time since the session was told to end, if it was.
    #[must_use]
    pub fn since_cut(&self) -> Option<Duration> {
        self.cut_at.get().map(Instant::elapsed)
    }

    /// Why the session was told to end, if it was.
    #[must_use]
    pub fn cut(&self) -> Option<Reason> {
        self.gate.fallen()
    }

    /// Runs `work` until it is done or the session is told to end, whichever is first.
    ///
    /// # Errors
    /// The reason for which the session is to end; `work` is then dropped where it stood.
    pub async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Result<T, Reason> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match self.gate.poll_fallen(cx) {
            std::task::Poll::Ready(reason) => std::task::Poll::Ready(Err(reason)),
            std::task::Poll::Pending => work.as_mut().poll(cx).map(Ok),
        })
        .await
    }
}

/// Who asks, and for what, when a session is entered.
#[derive(Debug)]
pub struct Entry {
    /// Who is speaking.
    pub device: Arc<VerifiedDevice>,
    /// The agent that the request named.
    pub requested_agent: Option<AgentName>,
    /// Where the request wants to go.
    pub destination: Option<Destination>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
