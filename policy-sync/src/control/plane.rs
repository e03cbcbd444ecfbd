//! The control plane itself: what is offered to it, and what becomes of that.
//!
//! A submission is verified as a gateway would verify it, judged against the state, written down behind everything else, and
//! sent to every gateway. A revocation is sent before it is written down, as a hint that gateways enforce at once, and
//! answered once it is durable and enforced; from then on nothing forgets it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use audit::Recorder;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use certs::CrlIssuers;
use config::Limit;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::fault::{PlaneFault, SubmitFault};
use super::gateways::{Applied, GatewayStatus, Gateways};
use super::heartbeat::{self, Pulse};
use super::leases::{LeaseMetrics, Leases};
use super::meaning::{Authorities, Meaning};
use super::metrics::ControlMetrics;
use super::state::State;
use super::submission::{Inner, Keys, Wish, may};
use super::{snapshots, telling, writing};
use crate::keys::{KeyRing, Role, SigningKey};
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::log::{Entry, Position};
use crate::revocations::StatementId;
use crate::signed::Approvals;
use crate::snapshot::PolicyBounds;
use crate::target::Target;
use crate::transport::{AppendFault, Desk, Report, Transport, TransportFault};

/// How many submissions may wait to be written down.
const WAITING: usize = 4096;

/// What a control plane needs to know.
pub struct PlaneOptions {
    /// Its name.
    pub name: String,
    /// Where the log is kept, and how frames reach gateways.
    pub transport: Arc<dyn Transport>,
    /// The keys that count.
    pub ring: KeyRing,
    /// Signs the log; the ring has it with the role of control.
    pub control: SigningKey,
    /// Signs revocations; without it only signed ones are taken.
    pub revoker: Option<SigningKey>,
    /// Signs liftings; without it only signed ones are taken.
    pub approver: Option<SigningKey>,
    /// Whose manifests need more than their author's signature.
    pub approvals: Approvals,
    /// Whose CRLs are taken.
    pub crl_issuers: CrlIssuers,
    /// What the settings impose; only the longest life of a manifest matters here.
    pub bounds: PolicyBounds,
    /// What all sessions of a manifest may upload when it is silent.
    pub silent_upload: Limit,
    /// Whether to found a new epoch: after the log was restored from a backup, while no other control plane runs.
    pub new_epoch: bool,
    /// Where events go.
    pub recorder: Recorder,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// A running control plane. Dropping it ends its tasks; the log stays.
pub struct Plane {
    inner: Arc<Inner>,
    leases: Arc<Leases>,
    tasks: Vec<AbortHandle>,
}

/// An order to revoke.
#[derive(Debug, Clone)]
pub struct RevokeOrder {
    /// What.
    pub what: RevokeWhat,
    /// On whose behalf.
    pub by: String,
    /// How long to wait for gateways.
    pub wait: Duration,
}

/// What is to be revoked.
#[derive(Debug, Clone)]
pub enum RevokeWhat {
    /// What this envelope says.
    Signed(Bytes),
    /// What these words say; the plane signs them.
    Unsigned {
        /// What loses its authority.
        target: Target,
        /// Why: 1 to 1024 bytes.
        reason: String,
        /// When, by the clock of whoever revokes; now if absent.
        timestamp: Option<Timestamp>,
    },
}

/// The answer to an order to revoke.
#[derive(Debug, Clone, PartialEq)]
pub struct Revoked {
    /// The epoch of the log.
    pub epoch: u64,
    /// Where it stands in the log.
    pub sequence: u64,
    /// Its name.
    pub revocation: StatementId,
    /// What is revoked.
    pub target: Target,
    /// Whether it was in force before.
    pub repeated: bool,
    /// The gateways that enforce it and will not forget it, by name.
    pub applied: Vec<Applied>,
    /// The gateways that are known and have not said so yet, by name.
    pub pending: Vec<String>,
}

/// Where something stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The epoch of the log.
    pub epoch: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Whether it stood there before.
    pub repeated: bool,
}

impl Plane {
    /// Reads the log, founding it when there is none, and begins to follow it, to write to it, and to speak to gateways.
    ///
    /// # Errors
    /// [`PlaneFault`] when the log cannot be read or is not in order, or the control key is not in the ring.
    pub async fn open(options: PlaneOptions) -> Result<Arc<Self>, PlaneFault> {
        let PlaneOptions { name, transport, ring, control, revoker, approver, .. } = options;
        for (key, role) in [
            (Some(&control), Role::Control),
            (revoker.as_ref(), Role::Revoker),
            (approver.as_ref(), Role::Approver),
        ] {
            if let Some(key) = key.filter(|key| !may(&ring, key, role)) {
                return Err(PlaneFault::Key { id: key.id().clone(), role });
            }
        }
        let metrics = ControlMetrics::register(&options.registry)?;
        let now = Timestamp::now().as_second();
        let counted = LeaseMetrics::register(&options.registry)?;
        let leases = Arc::new(Leases::new(Arc::clone(&transport), options.silent_upload, now, counted));
        let mut state = snapshots::replay(&*transport, &ring, &control, options.bounds).await?;
        if options.new_epoch {
            snapshots::found_anew(&*transport, &control, &mut state).await?;
        }
        let gateways = Gateways::default();
        for key in transport.cells(GATEWAYS).await? {
            if let Some(name) = gateway_name(&key) {
                gateways.remember(&name);
            }
        }
        let (asks, asked) = mpsc::channel(WAITING);
        let (approvals, crl_issuers) = (options.approvals, options.crl_issuers);
        let authorities = Authorities { ring, approvals, crl_issuers };
        let inner = Arc::new(Inner {
            name,
            transport,
            keys: Keys { control, revoker, approver },
            authorities: ArcSwap::from_pointee(authorities),
            gateways,
            pulse: Pulse::new(),
            changes: watch::Sender::new(state.position()),
            recorder: options.recorder,
            metrics,
            trouble: Mutex::default(),
            owed: Mutex::default(),
            underway: Mutex::default(),
            asks,
            state: Mutex::new(state),
        });
        inner.measure();
        let tasks = vec![
            tokio::spawn(writing::run(inner.clone(), asked)).abort_handle(),
            tokio::spawn(heartbeat::run(inner.clone())).abort_handle(),
            tokio::spawn(snapshots::run(inner.clone())).abort_handle(),
            tokio::spawn(Arc::clone(&leases).forget_on()).abort_handle(),
        ];
        Ok(Arc::new(Self { inner, leases, tasks }))
    }

    /// Has an entry written down and sent to every gateway. What is in force already is not written down again.
    ///
    /// # Errors
    /// [`SubmitFault`]; only with [`SubmitFault::NotDurable`] may anything have changed.
    pub async fn submit(&self, entry: Entry, by: &str) -> Result<Written, SubmitFault> {
        let kind = entry.kind();
        let now = Timestamp::now().as_second();
        let written = match Meaning::verify(&entry, &self.inner.authorities.load(), now) {
            Ok(meaning) => self.inner.write_down(meaning, entry, by).await,
            Err(fault) => Err(fault),
        };
        written.inspect_err(|fault| self.inner.refused(kind, fault, by))
    }

    /// Revokes: sends the revocation to every gateway, has it written down at the same time, and waits until it is durable and
    /// every connected gateway enforces it, for the latter as long as the order says. The same order again has the same answer.
    ///
    /// # Errors
    /// [`SubmitFault`]; only with [`SubmitFault::NotDurable`] may gateways enforce it all the same.
    pub async fn revoke(&self, order: RevokeOrder) -> Result<Revoked, SubmitFault> {
        let RevokeOrder { what, by, wait } = order;
        let until = Instant::now() + wait;
        let revoked = match what {
            RevokeWhat::Signed(envelope) => self.inner.revoke_signed(Entry::Revocation(envelope), &by).await,
            RevokeWhat::Unsigned { target, reason, timestamp } => {
                let timestamp = timestamp.map(Timestamp::as_second);
                self.inner.revoke_wish(Wish { target, reason, timestamp }, &by).await
            }
        };
        let (revocation, written) =
            revoked.inspect_err(|fault| self.inner.refused("revocation", fault, &by))?;
        // Running into the bound is no fault: the answer names who is pending.
        drop(tokio::time::timeout_at(until, self.inner.gateways.enforced(revocation.id)).await);
        let Written { epoch, sequence, repeated } = written;
        let (applied, pending) = self.inner.gateways.receipts(revocation.id, (epoch, sequence));
        let (revocation, target) = (revocation.id, revocation.target.clone());
        Ok(Revoked { epoch, sequence, revocation, target, repeated, applied, pending })
    }

    /// Lifts the revocation of this sequence. With `signed`, the envelope of the lifting; else the plane signs one that says
    /// `reason`.
    ///
    /// # Errors
    /// [`SubmitFault`].
    pub async fn lift(
        &self,
        sequence: u64,
        signed: Option<Bytes>,
        reason: &str,
        by: &str,
    ) -> Result<Written, SubmitFault> {
        let lifted = self.inner.lift(sequence, signed, reason, by).await;
        lifted.inspect_err(|fault| self.inner.refused("lift", fault, by))
    }

    /// Looks at what the log comes to. The closure must be short: nothing is written down meanwhile.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.inner.state())
    }

    /// The envelope of the live manifest with this digest; `None` when it is not live.
    ///
    /// # Errors
    /// [`TransportFault`] when the log cannot be read.
    pub async fn manifest_envelope(&self, digest: &[u8; 32]) -> Result<Option<Bytes>, TransportFault> {
        snapshots::manifest_envelope(&self.inner, digest).await
    }

    /// How every known gateway stands, by name.
    #[must_use]
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        self.inner.gateways.list()
    }

    /// Forgets a gateway that will not come back, so that it is pending no more; false when it was not known. One that is
    /// connected is known again with its next report.
    ///
    /// # Errors
    /// [`TransportFault`] when that cannot be written down.
    pub async fn forget_gateway(&self, name: &str) -> Result<bool, TransportFault> {
        let key = gateway_key(name);
        if let Some((version, _)) = self.inner.transport.cell(&key).await? {
            // Taken: somebody else has just removed or renewed it.
            if let Err(AppendFault::Transport(fault)) =
                self.inner.transport.set_cell(&key, Some(version), Bytes::new()).await
            {
                return Err(fault);
            }
        }
        Ok(self.inner.gateways.forget(name))
    }

    /// How far the log reaches, whenever that changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Position> {
        self.inner.changes.subscribe()
    }

    /// The transport, for cells of others.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    /// Whose word counts, and for what, at this moment.
    pub(super) fn authorities(&self) -> Arc<Authorities> {
        self.inner.authorities.load_full()
    }

    /// The name of this control plane.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Why the log cannot be followed or written at the moment; `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.inner.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other authorities and bounds in force for what is offered from now on.
    pub fn reload(&self, ring: KeyRing, approvals: Approvals, crl_issuers: CrlIssuers, bounds: PolicyBounds) {
        self.inner.state().rebound(bounds);
        self.inner.authorities.store(Arc::new(Authorities { ring, approvals, crl_issuers }));
    }

    /// Takes a snapshot of the log now, and not only when it has grown enough.
    ///
    /// # Errors
    /// [`PlaneFault`] when the log cannot be read or the snapshot not be kept.
    pub async fn take_snapshot(&self) -> Result<Position, PlaneFault> {
        snapshots::take(&self.inner).await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Desk for Plane {
    fn reported(&self, gateway: &str, connection: u64, report: Report) {
        let inner = &self.inner;
        let news = inner.gateways.reported(gateway, connection, report, Timestamp::now());
        for took in &news.complete {
            inner.metrics.enforced_seconds.observe(took.as_secs_f64());
        }
        if news.arrived {
            telling::connected(&inner.recorder, gateway);
        }
        if news.unknown {
            let (inner, name) = (inner.clone(), gateway.to_owned());
            tokio::spawn(async move { inner.keep_gateway(&name).await });
        }
    }

    fn left(&self, gateway: &str, connection: u64) {
        if self.inner.gateways.left(gateway, connection) {
            telling::left(&self.inner.recorder, gateway);
        }
    }

    fn lease<'a>(
        &'a self,
        gateway: &'a str,
        request: LeaseRequest,
    ) -> BoxFuture<'a, Result<LeaseAnswer, TransportFault>> {
        Box::pin(async move {
            let policy = self.inner.state().policy().clone();
            let now = Timestamp::now().as_second();
            let answer = self.leases.hand_out(gateway, &request, &policy, now).await;
            answer.map_err(|refusal| TransportFault(refusal.to_string()))
        })
    }
}

const GATEWAYS: &str = "gateway/";

/// The cell of a gateway; its name may have characters that a key has not.
pub(super) fn gateway_key(name: &str) -> String {
    format!("{GATEWAYS}{}", URL_SAFE_NO_PAD.encode(name))
}

fn gateway_name(key: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(key.strip_prefix(GATEWAYS)?).ok()?).ok()
}
