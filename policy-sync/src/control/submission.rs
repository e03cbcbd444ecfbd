//! What becomes of a submission: judged, sent as a hint if it revokes, and handed to the task that writes.
//!
//! Who wishes for the same revocation twice gets the same one: no wish is signed twice, whether its record is written down, on its
//! way, or still owed because the log could not be written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use audit::Recorder;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::fault::SubmitFault;
use super::gateways::Gateways;
use super::heartbeat::Pulse;
use super::meaning::{Authorities, Meaning};
use super::metrics::{ControlMetrics, gauge};
use super::plane::{Written, gateway_key};
use super::state::{State, Verdict};
use super::telling;
use super::writing::Ask;
use crate::keys::{KeyRing, Role, SigningKey};
use crate::log::{Entry, Position};
use crate::revocations::Revocation;
use crate::signed::{sign_lift, sign_revocation};
use crate::target::Target;
use crate::transport::{AppendFault, Frame, Transport, TransportFault};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 1024;

pub(super) struct Keys {
    pub(super) control: SigningKey,
    pub(super) revoker: Option<SigningKey>,
    pub(super) approver: Option<SigningKey>,
}

/// What the tasks of a plane share.
pub(super) struct Inner {
    pub(super) name: String,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) keys: Keys,
    pub(super) authorities: ArcSwap<Authorities>,
    pub(super) gateways: Gateways,
    pub(super) pulse: Pulse,
    pub(super) changes: watch::Sender<Position>,
    pub(super) recorder: Recorder,
    pub(super) metrics: ControlMetrics,
    /// Why the log cannot be followed or written at the moment.
    pub(super) trouble: Mutex<Option<String>>,
    /// Envelopes of revocations that went out but could not be written down yet.
    pub(super) owed: Mutex<HashMap<Wish, Bytes>>,
    /// Unsigned revocations on their way, so that the same wish is not signed twice.
    pub(super) underway: Mutex<HashMap<Wish, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) state: Mutex<State>,
}

/// What somebody wants to be revoked. Who wants the same again gets the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) target: Target,
    pub(super) reason: String,
    /// Unix seconds; `None` when the wish names none.
    pub(super) timestamp: Option<i64>,
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn revoke_signed(
        &self,
        entry: Entry,
        by: &str,
    ) -> Result<(Arc<Revocation>, Written), SubmitFault> {
        let meaning = Meaning::verify(&entry, &self.authorities.load(), Timestamp::now().as_second())?;
        let Meaning::Revocation(revocation) = &meaning else {
            return Err(SubmitFault::Malformed("the envelope carries no revocation".into()));
        };
        let revocation = revocation.clone();
        Ok((revocation, self.write_down(meaning, entry, by).await?))
    }

    pub(super) async fn revoke_wish(
        &self,
        wish: Wish,
        by: &str,
    ) -> Result<(Arc<Revocation>, Written), SubmitFault> {
        if wish.reason.is_empty() || wish.reason.len() > LONGEST_REASON {
            return Err(SubmitFault::Malformed("`reason` is not 1 to 1024 bytes long".into()));
        }
        let turn = self.underway().entry(wish.clone()).or_default().clone();
        let taken = turn.lock().await;
        let revoked = self.revoke_wish_once(&wish, by).await;
        drop(taken);
        // The last one to hold it takes it out: one of the two references is the map's own.
        let mut underway = self.underway();
        if underway.get(&wish).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            underway.remove(&wish);
        }
        revoked
    }

    async fn revoke_wish_once(
        &self,
        wish: &Wish,
        by: &str,
    ) -> Result<(Arc<Revocation>, Written), SubmitFault> {
        if let Some(known) = self.fulfilled(wish) {
            return Ok(known);
        }
        // A revocation that went out before and could not be written down keeps its name.
        let owed = self.owed().get(wish).cloned();
        if let Some(envelope) = owed {
            return self.revoke_signed(Entry::Revocation(envelope), by).await;
        }
        let key = self.keys.revoker.as_ref().ok_or(SubmitFault::NoKey(Role::Revoker))?;
        if !may(&self.authorities.load().ring, key, Role::Revoker) {
            return Err(SubmitFault::NoKey(Role::Revoker));
        }
        let at = wish.timestamp.and_then(|second| Timestamp::from_second(second).ok());
        let signed =
            sign_revocation(wish.target.clone(), &wish.reason, at.unwrap_or_else(Timestamp::now), key);
        let (envelope, revocation) =
            signed.map_err(|fault| SubmitFault::NotDurable(TransportFault(fault.to_string())))?;
        let (entry, revocation) = (Entry::Revocation(envelope.to_json().into()), Arc::new(revocation));
        let written = self.write_down(Meaning::Revocation(revocation.clone()), entry, by).await?;
        Ok((revocation, written))
    }

    /// The revocation in force that is what somebody wishes for.
    fn fulfilled(&self, wish: &Wish) -> Option<(Arc<Revocation>, Written)> {
        let state = self.state();
        let same = |known: &&Arc<Revocation>| {
            *known.reason == *wish.reason && wish.timestamp.is_none_or(|at| at == known.timestamp)
        };
        let revocation = state.policy().revocations().aimed_at(&wish.target).iter().find(same)?.clone();
        let sequence = state.sequence_of(revocation.id)?;
        Some((revocation, Written { epoch: state.position().epoch, sequence, repeated: true }))
    }

    pub(super) async fn lift(
        &self,
        sequence: u64,
        signed: Option<Bytes>,
        reason: &str,
        by: &str,
    ) -> Result<Written, SubmitFault> {
        let note = self.state().revocation(sequence).cloned().ok_or(SubmitFault::Unknown)?;
        if !note.revocation.target.can_be_lifted() {
            return Err(SubmitFault::NotLiftable);
        }
        if let Some(lifted) = note.lifted {
            let epoch = self.state().position().epoch;
            return Ok(Written { epoch, sequence: lifted, repeated: true });
        }
        let envelope = match signed {
            Some(envelope) => envelope,
            None => self.sign_lift(&note.revocation, reason)?,
        };
        let entry = Entry::Lift(envelope);
        let meaning = Meaning::verify(&entry, &self.authorities.load(), Timestamp::now().as_second())?;
        match &meaning {
            Meaning::Lift(lift) if lift.lifts == note.revocation.id => {
                self.write_down(meaning, entry, by).await
            }
            _ => Err(SubmitFault::Malformed("the envelope does not lift this revocation".into())),
        }
    }

    fn sign_lift(&self, revocation: &Revocation, reason: &str) -> Result<Bytes, SubmitFault> {
        let key = self.keys.approver.as_ref().ok_or(SubmitFault::NoKey(Role::Approver))?;
        let reason = if reason.is_empty() { "lifted" } else { reason };
        let signed = sign_lift(revocation, reason, Timestamp::now(), key);
        let signed = signed.map_err(|fault| SubmitFault::NotDurable(TransportFault(fault.to_string())))?;
        Ok(signed.to_json().into())
    }

    /// Has something that was verified written down, behind everything that waits already. A revocation goes out first.
    pub(super) async fn write_down(
        &self,
        meaning: Meaning,
        entry: Entry,
        by: &str,
    ) -> Result<Written, SubmitFault> {
        let judged = {
            let state = self.state();
            let epoch = state.position().epoch;
            state.judge(&meaning, Timestamp::now().as_second()).map(|verdict| (epoch, verdict))
        };
        if let (epoch, Verdict::Known(sequence)) = judged? {
            return Ok(Written { epoch, sequence, repeated: true });
        }
        let place = self.asks.try_reserve().map_err(|_| SubmitFault::Busy)?;
        let hinted = match (&meaning, &entry) {
            (Meaning::Revocation(revocation), Entry::Revocation(envelope)) => {
                self.gateways.expect(revocation.id);
                self.transport.broadcast(Frame::Hint(envelope.clone()));
                true
            }
            _ => false,
        };
        // Nothing is waited for between the hint and this line: who has let go of the answer does not undo the order.
        let (answer, answered) = oneshot::channel();
        place.send(Ask { meaning, entry, by: by.into(), hinted, answer: Some(answer) });
        let stopped = || SubmitFault::NotDurable(TransportFault("the control plane is stopping".into()));
        answered.await.map_err(|_| stopped())?
    }

    pub(super) fn refused(&self, kind: &str, fault: &SubmitFault, by: &str) {
        self.metrics.refusals.with_label_values(&[fault.as_str()]).inc();
        telling::refused(&self.recorder, kind, fault, by);
    }

    pub(super) async fn keep_gateway(&self, name: &str) {
        let value = Bytes::from(Timestamp::now().to_string());
        match self.transport.set_cell(&gateway_key(name), None, value).await {
            // Taken: another control plane has noted it.
            Ok(()) | Err(AppendFault::Taken) => {}
            Err(fault) => tracing::warn!(%fault, gateway = name, "a gateway could not be noted"),
        }
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == trouble {
            return;
        }
        self.metrics.log_up.set(i64::from(trouble.is_none()));
        if let Some(fault) = &trouble {
            tracing::error!(fault, "the log of policy cannot be used");
            telling::log_fault(&self.recorder, fault);
        }
        *current = trouble;
    }

    pub(super) fn owed(&self) -> MutexGuard<'_, HashMap<Wish, Bytes>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn underway(&self) -> MutexGuard<'_, HashMap<Wish, Arc<tokio::sync::Mutex<()>>>> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the gauges up to date.
    pub(super) fn measure(&self) {
        let (known, connected) = self.gateways.count();
        self.metrics.gateways.set(gauge(known));
        self.metrics.gateways_connected.set(gauge(connected));
        let state = self.state();
        self.metrics.sequence.set(i64::try_from(state.position().sequence).unwrap_or(i64::MAX));
        self.metrics.manifests.set(gauge(state.policy().manifest_count()));
        self.metrics.revocations.set(gauge(state.policy().revocations().len()));
    }
}

/// Whether this key has the role in the ring, under its own name.
pub(super) fn may(ring: &KeyRing, key: &SigningKey, role: Role) -> bool {
    ring.key(key.id().as_str())
        .is_some_and(|known| *known.public() == key.public() && known.roles().contains(&role))
}
