//! Who follows, how far, and who has still to enforce what.
//!
//! A gateway that has ever reported stays known until it is forgotten by hand: one that is away is pending, not gone. Names
//! are what the transport vouches for. Nothing here waits for a gateway.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::revocations::StatementId;
use crate::transport::Report;

/// A gateway that was silent for longer does not count as connected; it reports every second.
const SILENT: Duration = Duration::from_secs(5);
/// How many receipts of past revocations are kept.
const RECEIPTS: usize = 1024;

/// How a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Its name, as its certificate or key has it.
    pub name: String,
    /// Whether it has a connection and was heard of within the last five seconds.
    pub connected: bool,
    /// The version of its program.
    pub version: String,
    /// The revision of its policy.
    pub revision: u64,
    /// The epoch of the log that it follows.
    pub epoch: u64,
    /// How far it has followed it.
    pub sequence: u64,
    /// How many sessions are live on it.
    pub sessions: u64,
    /// How old its policy is, in milliseconds, by its own word.
    pub age_ms: Option<u64>,
    /// When it last reported; `None` when never since this control plane runs.
    pub last_report: Option<Timestamp>,
}

/// What a gateway did for one revocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The gateway.
    pub gateway: String,
    /// From the arrival of the revocation at the gateway until no touched session could write, in milliseconds.
    pub latency_ms: f64,
    /// How many sessions it cut.
    pub sessions_cut: u64,
    /// How many bytes those had sent to their destinations.
    pub upload_bytes: u64,
}

/// Every gateway that is known.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    gateways: HashMap<Arc<str>, Gateway>,
    waits: HashMap<StatementId, Wait>,
    /// The names of `waits`, oldest first.
    order: std::collections::VecDeque<StatementId>,
}

#[derive(Debug, Default)]
struct Gateway {
    connections: HashSet<u64>,
    report: Report,
    heard: Option<(Instant, Timestamp)>,
}

impl Gateway {
    fn connected(&self) -> bool {
        !self.connections.is_empty() && self.heard.is_some_and(|(at, _)| at.elapsed() < SILENT)
    }
}

/// Who has enforced one revocation, and who has still to.
#[derive(Debug, Default)]
struct Wait {
    started: Option<Instant>,
    /// Connected gateways that have not enforced it.
    missing: HashSet<Arc<str>>,
    applied: HashMap<Arc<str>, Applied>,
    /// Where its record stands, once it is written down.
    place: Option<(u64, u64)>,
    done: Arc<Notify>,
}

/// What a report has brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The gateway was not known before.
    pub(super) unknown: bool,
    /// The gateway was not connected before.
    pub(super) arrived: bool,
    /// For each revocation that nobody has still to enforce, how long that took.
    pub(super) complete: Vec<Duration>,
}

impl Gateways {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a gateway that has reported before this control plane started.
    pub(super) fn remember(&self, name: &str) {
        self.known().gateways.entry(name.into()).or_default();
    }

    /// Drops a gateway; false when it was not known.
    pub(super) fn forget(&self, name: &str) -> bool {
        self.known().gateways.remove(name).is_some()
    }

    /// Takes a report.
    pub(super) fn reported(&self, name: &str, connection: u64, mut report: Report, now: Timestamp) -> News {
        let mut known = self.known();
        let known = &mut *known;
        let mut news = News::default();
        let name: Arc<str> = match known.gateways.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => {
                news.unknown = true;
                name.into()
            }
        };
        let gateway = known.gateways.entry(name.clone()).or_default();
        news.arrived = !gateway.connected();
        gateway.connections.insert(connection);
        gateway.heard = Some((Instant::now(), now));
        let enforced = std::mem::take(&mut report.enforced);
        let reached = (report.epoch, report.sequence);
        gateway.report = report;
        for receipt in enforced {
            let Some(wait) = known.waits.get_mut(&receipt.revocation) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
            let latency_ms = receipt.latency_us as f64 / 1000.0;
            let (sessions_cut, upload_bytes) = (receipt.sessions_cut, receipt.upload_bytes);
            let gateway = name.to_string();
            wait.applied.insert(name.clone(), Applied { gateway, latency_ms, sessions_cut, upload_bytes });
            news.complete.extend(wait.crossed_off(&name));
        }
        // A gateway that has come past the record has enforced it, whether its receipt got through or not.
        for wait in known.waits.values_mut().filter(|wait| !wait.missing.is_empty()) {
            if wait.place.is_some_and(|place| passed(reached, place)) {
                news.complete.extend(wait.crossed_off(&name));
            }
        }
        news
    }

    /// Notes that a connection is gone; true when it was the gateway's last one.
    pub(super) fn left(&self, name: &str, connection: u64) -> bool {
        let mut known = self.known();
        let known = &mut *known;
        let Some(gateway) = known.gateways.get_mut(name) else { return false };
        let last = gateway.connections.remove(&connection) && gateway.connections.is_empty();
        if last {
            for wait in known.waits.values_mut() {
                wait.crossed_off(name);
            }
        }
        last
    }

    /// Begins to wait for everybody who is connected. To be called before the revocation goes out.
    pub(super) fn expect(&self, revocation: StatementId) {
        let mut known = self.known();
        let known = &mut *known;
        if known.waits.contains_key(&revocation) {
            return;
        }
        while known.order.len() >= RECEIPTS {
            let oldest = known.order.pop_front();
            oldest.and_then(|oldest| known.waits.remove(&oldest));
        }
        let connected = known.gateways.iter().filter(|(_, gateway)| gateway.connected());
        let missing = connected.map(|(name, _)| name.clone()).collect();
        known.order.push_back(revocation);
        known.waits.insert(revocation, Wait { missing, started: Some(Instant::now()), ..Wait::default() });
    }

    /// Notes where the record of a revocation stands.
    pub(super) fn placed(&self, revocation: StatementId, epoch: u64, sequence: u64) {
        if let Some(wait) = self.known().waits.get_mut(&revocation) {
            wait.place = Some((epoch, sequence));
        }
    }

    /// Waits until no connected gateway has still to enforce it.
    pub(super) async fn enforced(&self, revocation: StatementId) {
        let done = match self.known().waits.get(&revocation) {
            Some(wait) => wait.done.clone(),
            None => return,
        };
        loop {
            // Registered before looking, so that a report in between is not missed.
            let mut told = std::pin::pin!(done.notified());
            told.as_mut().enable();
            if self.known().waits.get(&revocation).is_none_or(|wait| wait.missing.is_empty()) {
                return;
            }
            told.await;
        }
    }

    /// Who has enforced a revocation whose record stands at `place`, and who has not.
    pub(super) fn receipts(&self, revocation: StatementId, place: (u64, u64)) -> (Vec<Applied>, Vec<String>) {
        let known = self.known();
        let wait = known.waits.get(&revocation);
        let (mut applied, mut pending) = (Vec::new(), Vec::new());
        for (name, gateway) in &known.gateways {
            let receipt = wait.and_then(|wait| wait.applied.get(name)).cloned();
            let reached = (gateway.report.epoch, gateway.report.sequence);
            let passed = passed(reached, place).then(|| Applied {
                gateway: name.to_string(),
                latency_ms: 0.0,
                sessions_cut: 0,
                upload_bytes: 0,
            });
            match receipt.or(passed) {
                Some(receipt) => applied.push(receipt),
                None => pending.push(name.to_string()),
            }
        }
        applied.sort_by(|left, right| left.gateway.cmp(&right.gateway));
        pending.sort_unstable();
        (applied, pending)
    }

    /// How everybody stands, by name.
    pub(super) fn list(&self) -> Vec<GatewayStatus> {
        let known = self.known();
        let mut list: Vec<_> = known
            .gateways
            .iter()
            .map(|(name, gateway)| GatewayStatus {
                name: name.to_string(),
                connected: gateway.connected(),
                version: gateway.report.version.clone(),
                revision: gateway.report.revision,
                epoch: gateway.report.epoch,
                sequence: gateway.report.sequence,
                sessions: gateway.report.sessions,
                age_ms: gateway.report.age_ms,
                last_report: gateway.heard.map(|(_, at)| at),
            })
            .collect();
        list.sort_by(|left, right| left.name.cmp(&right.name));
        list
    }

    /// How many are known, and how many of them are connected.
    pub(super) fn count(&self) -> (usize, usize) {
        let known = self.known();
        (known.gateways.len(), known.gateways.values().filter(|gateway| gateway.connected()).count())
    }
}

impl Wait {
    /// Notes that this gateway need not be waited for; says how long it took when it was the last one.
    fn crossed_off(&mut self, name: &str) -> Option<Duration> {
        let last = self.missing.remove(name) && self.missing.is_empty();
        if last {
            self.done.notify_waiters();
        }
        self.started.filter(|_| last).map(|started| started.elapsed())
    }
}

/// Whether a gateway that has come to `reached` has come past `place`; both are epoch and sequence.
fn passed(reached: (u64, u64), place: (u64, u64)) -> bool {
    reached >= place
}
