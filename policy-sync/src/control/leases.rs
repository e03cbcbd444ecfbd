//! How much of a shared budget does a gateway get? Parts of upload budgets, each handed out once.
//!
//! [`terms`] is what the control plane's own policy says about a budget: the limit is never the gateway's claim. [`share`] is
//! what has been handed out of it, in one cell of the transport that is only ever changed by compare-and-set: however
//! many control planes answer, no two hand out the same bytes. The window of time is decided by the same code as in a
//! gateway that counts alone ([`crate::window`]), and kept in a cell of its own, because the rules of a manifest share it.
//!
//! Whoever asks has been named by the transport. Never keeps a budget in memory, and never takes anything back by itself:
//! what a gateway holds is its own to spend or to return.

mod metrics;
mod share;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::{Limit, Reason};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

pub use self::metrics::LeaseMetrics;
use self::share::Share;
use self::terms::Terms;
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::snapshot::Snapshot;
use crate::target::to_hex;
use crate::transport::{AppendFault, CellVersion, Transport, TransportFault};
use crate::window::{Clock, Standing, Window, standing};

/// What the keys of all cells of budgets begin with.
const CELLS: &str = "budget/";
/// How often a change is tried again that another control plane was quicker with.
const ATTEMPTS: usize = 32;
/// Requests at one control plane wait for each other in so many queues, by budget, instead of racing for the cell.
const QUEUES: usize = 64;
/// How long after its end a window is remembered, in seconds, for control planes whose clocks are slow.
const AFTERLIFE: i64 = 600;
/// How often such windows are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Why nothing is handed out, although something may be left.
#[derive(Debug, thiserror::Error)]
pub enum LeaseRefusal {
    /// The request names something that cannot exist.
    #[error("`{0}` is not in order")]
    Malformed(&'static str),
    /// No such manifest is live here.
    #[error("no manifest is live for this device and agent")]
    NoManifest,
    /// The manifest or its device may do nothing at all.
    #[error("the manifest has no authority: {0}")]
    NoAuthority(Reason),
    /// The manifest has no such rule.
    #[error("the manifest has no such rule")]
    NoRule,
    /// The one who asks, or another control plane, knows a later manifest.
    #[error("a later manifest is known elsewhere, and not yet here")]
    Behind,
    /// The manifest's time is over.
    #[error("the window of the manifest has ended")]
    WindowEnded,
    /// Too many others change the same budget at this moment.
    #[error("others were quicker, again and again")]
    Busy,
    /// What was written down of the budget cannot be read.
    #[error("what is written down of the budget is damaged")]
    Damaged,
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportFault),
}

/// All budgets that gateways share.
pub struct Leases {
    transport: Arc<dyn Transport>,
    /// What all sessions of a manifest may upload when it is silent.
    silent: Limit,
    clock: Clock,
    queues: [Mutex<()>; QUEUES],
    metrics: LeaseMetrics,
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("silent", &self.silent).finish_non_exhaustive()
    }
}

impl Leases {
    /// Budgets in the cells of `transport`, from `now` (Unix seconds) on. `silent` is the limit of a manifest that names none.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, silent: Limit, now: i64, metrics: LeaseMetrics) -> Self {
        let queues = std::array::from_fn(|_| Mutex::new(()));
        Self { transport, silent, clock: Clock::new(now, 0), queues, metrics }
    }

    /// Answers `gateway`, by the policy of this moment. `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`LeaseRefusal`]; a change may have been written down all the same, and is then in the next answer.
    pub async fn hand_out(
        &self,
        gateway: &str,
        request: &LeaseRequest,
        policy: &Snapshot,
        now: i64,
    ) -> Result<LeaseAnswer, LeaseRefusal> {
        let outcome = match Terms::of(request, policy, self.silent, now) {
            Ok(terms) => self.hand_out_by(&terms, gateway, request, now).await,
            Err(refusal) => Err(refusal),
        };
        self.metrics.note(request, &outcome);
        outcome
    }

    async fn hand_out_by(
        &self,
        terms: &Terms,
        gateway: &str,
        request: &LeaseRequest,
        now: i64,
    ) -> Result<LeaseAnswer, LeaseRefusal> {
        let key = share_key(request);
        let _turn = self.queue(&key).lock().await;
        for _ in 0..ATTEMPTS {
            let window = self.window(terms, request, now).await?;
            let (version, kept) = self.read::<Share>(&key).await?;
            let mut share = match &kept {
                Some(kept) if kept.ends_at() > window.ends_at => continue,
                Some(kept) if kept.ends_at() == window.ends_at => kept.clone(),
                _ => Share::new(window),
            };
            let answer = share.serve(gateway, request, terms)?;
            if kept.as_ref() == Some(&share) || self.write(&key, version, &share).await? {
                return Ok(answer);
            }
        }
        Err(LeaseRefusal::Busy)
    }

    /// The window that this manifest spends from, which it opens if need be.
    async fn window(&self, terms: &Terms, request: &LeaseRequest, now: i64) -> Result<Window, LeaseRefusal> {
        let key = window_key(request);
        let moment = self.clock.read(now, terms.issued_at);
        for _ in 0..ATTEMPTS {
            let (version, open) = self.read::<Window>(&key).await?;
            match (standing(open, terms.issued_at, terms.expires_at, moment), open) {
                (Standing::Inside, Some(open)) => return Ok(open),
                (Standing::Opens(window), _) => {
                    if self.write(&key, version, &window).await? {
                        return Ok(window);
                    }
                }
                (Standing::Inside, None) | (Standing::Over, _) => return Err(LeaseRefusal::WindowEnded),
            }
        }
        Err(LeaseRefusal::Busy)
    }

    /// Forgets budgets whose window has ended some time ago; returns how many cells that were. To be called now and then.
    ///
    /// # Errors
    /// When the transport fails; what is left over is forgotten the next time.
    pub async fn forget_ended(&self, now: i64) -> Result<usize, LeaseRefusal> {
        let reached = self.clock.read(now, i64::MIN).proven;
        let mut forgotten = 0;
        for key in self.transport.cells(CELLS).await? {
            let (version, ends) = self.read::<Ends>(&key).await?;
            let ended = ends.is_some_and(|ends| ends.ends_at.saturating_add(AFTERLIFE) <= reached);
            if ended && self.write_bytes(&key, version, Bytes::new()).await? {
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Forgets ended budgets now and then, until it is aborted.
    pub async fn forget_on(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(fault) = self.forget_ended(Timestamp::now().as_second()).await {
                tracing::warn!(%fault, "budgets of ended windows are still kept");
            }
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<(Option<CellVersion>, Option<T>), LeaseRefusal> {
        let Some((version, bytes)) = self.transport.cell(key).await? else { return Ok((None, None)) };
        let value = serde_json::from_slice(&bytes).map_err(|_| LeaseRefusal::Damaged)?;
        Ok((Some(version), Some(value)))
    }

    async fn write(
        &self,
        key: &str,
        version: Option<CellVersion>,
        value: &impl Serialize,
    ) -> Result<bool, LeaseRefusal> {
        let bytes = serde_json::to_vec(value).map_err(|_| LeaseRefusal::Damaged)?;
        self.write_bytes(key, version, bytes.into()).await
    }

    /// Whether this was the write that took place; another one was if not.
    async fn write_bytes(
        &self,
        key: &str,
        version: Option<CellVersion>,
        bytes: Bytes,
    ) -> Result<bool, LeaseRefusal> {
        match self.transport.set_cell(key, version, bytes).await {
            Ok(()) => Ok(true),
            Err(AppendFault::Taken) => Ok(false),
            Err(AppendFault::Transport(fault)) => Err(fault.into()),
        }
    }

    fn queue(&self, key: &str) -> &Mutex<()> {
        let sum = key.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let [first, ..] = &self.queues;
        self.queues.get(sum % QUEUES).unwrap_or(first)
    }
}

/// Of any cell of a budget, when its window ends.
#[derive(Debug, serde::Deserialize)]
struct Ends {
    ends_at: i64,
}

fn window_key(request: &LeaseRequest) -> String {
    cell_key(&["window", &request.device, &request.agent])
}

fn share_key(request: &LeaseRequest) -> String {
    match &request.rule {
        None => cell_key(&["manifest", &request.device, &request.agent]),
        Some(rule) => cell_key(&["rule", &request.device, &request.agent, rule]),
    }
}

/// Names are made of visible characters only, so nothing but the list of parts can make the text that is hashed.
fn cell_key(parts: &[&str]) -> String {
    format!("{CELLS}{}", to_hex(&Sha256::digest(parts.join("\n"))))
}

#[cfg(test)]
mod tests;
