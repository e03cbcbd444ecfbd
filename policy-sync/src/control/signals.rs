//! What others have noticed: security events that are pushed here become revocations.
//!
//! The receiver of the Shared Signals Framework: a transmitter POSTs a Security Event Token (RFC 8417) as RFC 8935 says, and
//! has its answer when what follows from it is written down. [`Receiver::take`] is the story: which transmitter, whether the
//! token is its own (`jwks`), whether it is for us and new (`token`, `replay`, `taken`), whom it is about (`subject`), and what that
//! event withdraws (`event`).
//!
//! Relies on the settings for everything that an event may do: one that is not mapped is acknowledged, counted and does
//! nothing. It never acts on what is not signed, never lifts anything, never withdraws from everybody, and never takes more
//! than it acts on: whoever is too fast is told to come again.

mod delivery;
mod event;
mod metrics;
mod refusal;
mod replay;
mod subject;
mod taken;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use audit::{Event, EventType, Recorder};
use config::settings::{SignalEvent, SignalSettings};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::jwks::{Jwks, JwksSettingsFault};
use super::plane::{Plane, RevokeOrder, RevokeWhat};
use super::rates::Rates;
use crate::target::Target;
use crate::transport::{Transport, TransportFault};
use event::Meaning;
use metrics::{Outcome, SignalMetrics};
use refusal::Refusal;
use replay::{Replays, TokenId, known_until};
use subject::Subject;
use taken::TakenTokens;
use token::{SecurityEvent, Token};

pub use delivery::routes;

/// Whoever withdraws authority, durably.
pub trait Revokes: Send + Sync + 'static {
    /// Revokes; the same order again changes nothing.
    ///
    /// # Errors
    /// Why it is not written down. Another try may succeed.
    fn withdraw(&self, order: Withdrawal) -> BoxFuture<'_, Result<(), String>>;
}

/// Does not wait for gateways: they are told before the order is durable, and a transmitter has no use for their names.
impl Revokes for Plane {
    fn withdraw(&self, order: Withdrawal) -> BoxFuture<'_, Result<(), String>> {
        let Withdrawal { target, reason, at, by } = order;
        let what = RevokeWhat::Unsigned { target, reason, timestamp: Some(at) };
        Box::pin(async move {
            let revoked = self.revoke(RevokeOrder { what, by, wait: Duration::ZERO }).await;
            revoked.map(drop).map_err(|fault| fault.to_string())
        })
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// What loses its authority.
    pub target: Target,
    /// Why, for the record.
    pub reason: String,
    /// When the token was issued.
    pub at: Timestamp,
    /// Whose signal it was: `signals:` and the transmitter's name.
    pub by: String,
}

/// Takes what transmitters push.
pub struct Receiver {
    transmitters: ArcSwap<HashMap<String, Arc<Transmitter>>>,
    revokes: Arc<dyn Revokes>,
    recorder: Recorder,
    metrics: SignalMetrics,
    told: Mutex<Told>,
    taken: Arc<TakenTokens>,
    forgetting: AbortHandle,
}

/// What a receiver needs.
pub struct ReceiverOptions<'a> {
    /// The transmitters.
    pub settings: &'a [SignalSettings],
    /// Who withdraws authority.
    pub revokes: Arc<dyn Revokes>,
    /// Where it is noted which tokens were taken.
    pub memory: Arc<dyn Transport>,
    /// Where events go.
    pub recorder: Recorder,
    /// Where metrics are registered.
    pub registry: &'a prometheus::Registry,
}

/// Settings that can be put in force.
#[derive(Debug)]
pub struct Prepared(HashMap<String, Arc<Transmitter>>);

/// One transmitter, and what is remembered of it.
struct Transmitter {
    settings: SignalSettings,
    keys: Jwks,
    replays: Arc<Mutex<Replays>>,
    rate: Rates<()>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("transmitters", &self.transmitters.load().keys())
            .finish_non_exhaustive()
    }
}

/// Why a receiver cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverFault {
    /// The keys of a transmitter cannot be used.
    #[error("the keys of the transmitter {name}: {fault}")]
    Keys {
        /// The transmitter.
        name: String,
        /// What is wrong.
        fault: JwksSettingsFault,
    },
    /// The metrics could not be registered.
    #[error("cannot register the metrics of signals: {0}")]
    Metrics(#[from] prometheus::Error),
    /// What was taken before could not be read.
    #[error("cannot read which signals were taken: {0}")]
    Memory(#[from] TransportFault),
}

/// What a transmitter hands over.
#[derive(Debug, Clone, Copy)]
struct Delivery<'a> {
    content_type: Option<&'a str>,
    authorization: Option<&'a [u8]>,
    body: &'a [u8],
}

impl Receiver {
    /// A receiver of these transmitters.
    ///
    /// # Errors
    /// Settings that cannot be used, metrics that are registered already, and a memory that cannot be read.
    pub async fn open(options: ReceiverOptions<'_>) -> Result<Self, ReceiverFault> {
        let ReceiverOptions { settings, revokes, memory, recorder, registry } = options;
        let taken = Arc::new(TakenTokens::open(memory, Timestamp::now()).await?);
        let transmitters = ArcSwap::from_pointee(transmitters(settings, &HashMap::new(), &taken)?);
        let metrics = SignalMetrics::register(registry)?;
        let forgetting = tokio::spawn(Arc::clone(&taken).forget_on()).abort_handle();
        Ok(Self { transmitters, revokes, recorder, metrics, told: Mutex::default(), taken, forgetting })
    }

    /// Reads other settings, without any effect. The rate of a transmitter whose settings are the same goes on, and what was
    /// taken stays known.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn prepare(&self, settings: &[SignalSettings]) -> Result<Prepared, ReceiverFault> {
        transmitters(settings, &self.transmitters.load(), &self.taken).map(Prepared)
    }

    /// Puts other settings in force.
    pub fn put(&self, Prepared(transmitters): Prepared) {
        self.transmitters.store(Arc::new(transmitters));
    }

    /// Takes one delivery, from its headers to whatever follows from it being written down.
    async fn take(&self, delivery: Delivery<'_>, now: Timestamp) -> Result<(), Refusal> {
        let began = Instant::now();
        let (name, taken) = match self.transmitter_of(&delivery) {
            Ok((transmitter, text)) => {
                let taken = self.take_from(&transmitter, delivery.authorization, text, now).await;
                (transmitter.settings.name.clone(), taken)
            }
            Err(refusal) => ("none".to_owned(), Err(refusal)),
        };
        let outcome = match &taken {
            Ok(outcome) => *outcome,
            Err(refusal) => refusal.outcome(),
        };
        self.metrics.token(&name, outcome, began.elapsed());
        taken.map(drop).inspect_err(|refusal| self.tell_refusal(&name, refusal))
    }

    /// Whose token this claims to be, and the token.
    fn transmitter_of<'a>(&self, delivery: &Delivery<'a>) -> Result<(Arc<Transmitter>, &'a str), Refusal> {
        if !token::is_security_event_token(delivery.content_type) {
            return Err(Refusal::Request("the content type is not application/secevent+jwt".into()));
        }
        let text = std::str::from_utf8(delivery.body).map_err(|_| Refusal::Request("not a token".into()))?;
        let issuer = token::claimed_issuer(text)?;
        let transmitters = self.transmitters.load();
        transmitters.get(&issuer).map(|known| (Arc::clone(known), text)).ok_or(Refusal::Issuer)
    }

    async fn take_from(
        &self,
        from: &Transmitter,
        authorization: Option<&[u8]>,
        text: &str,
        now: Timestamp,
    ) -> Result<Outcome, Refusal> {
        token::authorized(authorization, from.settings.authorization_sha256.as_ref())?;
        let token = token::read(from.keys.verify(text).await?, &from.settings, now)?;
        let id = TokenId::of(&token.id);
        if from.replays().knows(id) {
            return Ok(Outcome::Replayed);
        }
        // Only a transmitter that has proved itself counts here: nobody can use up the turns of another.
        from.rate.take(&(), Instant::now()).map_err(Refusal::TooMany)?;
        if from.replays().is_full(now) {
            return Err(Refusal::TooMany(Duration::from_secs(60)));
        }
        // All are understood before the first is acted upon.
        let meanings = token.events.iter().map(event::meaning).collect::<Result<Vec<_>, _>>()?;
        let mut effect = Effect::Nothing;
        for (event, meaning) in token.events.iter().zip(meanings) {
            effect = effect.max(self.act(from, &token, event, meaning).await?);
        }
        let until = known_until(token.issued, from.settings.max_age, now);
        if effect == Effect::Revoked {
            let noted = self.taken.note(&from.settings.issuer, id, until).await;
            noted.map_err(|fault| Refusal::Unavailable(fault.to_string()))?;
        }
        from.replays().keep(id, until, now);
        Ok(Outcome::Taken)
    }

    /// Does what one event asks for.
    async fn act(
        &self,
        from: &Transmitter,
        token: &Token,
        event: &SecurityEvent,
        meaning: Meaning,
    ) -> Result<Effect, Refusal> {
        let (name, kind) = (&from.settings.name, meaning.as_str());
        let outcome = match meaning {
            Meaning::Withdraws(asked) => self.answer_to(from, token, event, asked).await?,
            Meaning::Verification => {
                let said = format!("{name}: the transmitter verifies its stream");
                self.record(Event::new(EventType::SignalStream).detail(said));
                Effect::Nothing
            }
            Meaning::StreamUpdated { status, reason } => {
                self.metrics.stream(name, status == "enabled");
                let said = format!("{name}: the stream is {status}: {reason}");
                self.record(Event::new(EventType::SignalStream).detail(said));
                Effect::Nothing
            }
            Meaning::Harmless | Meaning::Unknown => Effect::Nothing,
        };
        self.metrics.event(name, kind, outcome.as_str());
        Ok(outcome)
    }

    /// Withdraws what the settings say, and says what that was.
    async fn answer_to(
        &self,
        from: &Transmitter,
        token: &Token,
        event: &SecurityEvent,
        asked: SignalEvent,
    ) -> Result<Effect, Refusal> {
        let wanted = from.settings.events.get(&asked).map(Vec::as_slice).unwrap_or_default();
        if wanted.is_empty() {
            return Ok(Effect::Nothing);
        }
        let subject = Subject::of(token, event);
        let Some(target) = subject.target(&from.settings, wanted) else {
            let (name, asked) = (&from.settings.name, asked.as_str());
            let said = format!("{name}: {asked} names nobody that the settings map: {subject}");
            self.record(Event::new(EventType::SignalUnmapped).detail(said));
            return Ok(Effect::Unmapped);
        };
        self.withdraw(from, token, asked, event, target).await?;
        Ok(Effect::Revoked)
    }

    async fn withdraw(
        &self,
        from: &Transmitter,
        token: &Token,
        asked: SignalEvent,
        event: &SecurityEvent,
        target: Target,
    ) -> Result<(), Refusal> {
        let name = &from.settings.name;
        let said = event.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
        let order = Withdrawal {
            target: target.clone(),
            reason: format!("{} signalled by {name}{said} (jti {})", asked.as_str(), token::shown(&token.id)),
            at: token.issued,
            by: format!("signals:{name}"),
        };
        let detail = order.reason.clone();
        self.revokes.withdraw(order).await.map_err(Refusal::Unavailable)?;
        self.record(Event::new(EventType::SignalAccepted).target(target).detail(detail));
        Ok(())
    }

    fn record(&self, event: Event) {
        self.recorder.record(event);
    }

    /// Records a refusal, one of a kind in a second: whoever can reach the listener can cause them.
    fn tell_refusal(&self, name: &str, refusal: &Refusal) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.now(refusal.outcome()) {
            self.record(Event::new(EventType::SignalRefused).detail(format_args!("{name}: {refusal}")));
        }
    }
}

/// When a refusal of each kind was last recorded.
#[derive(Default)]
struct Told(HashMap<Outcome, Instant>);

impl Told {
    fn now(&mut self, outcome: Outcome) -> bool {
        let now = Instant::now();
        let due = self.0.get(&outcome).is_none_or(|last| now.duration_since(*last).as_secs() >= 1);
        if due {
            self.0.insert(outcome, now);
        }
        due
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.forgetting.abort();
    }
}

/// What came of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Nothing,
    /// It names nobody that the settings map.
    Unmapped,
    Revoked,
}

impl Effect {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Unmapped => "unmapped",
            Self::Revoked => "revoked",
        }
    }
}

impl std::fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transmitter").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl Transmitter {
    fn replays(&self) -> std::sync::MutexGuard<'_, Replays> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn transmitters(
    settings: &[SignalSettings],
    previous: &HashMap<String, Arc<Transmitter>>,
    taken: &TakenTokens,
) -> Result<HashMap<String, Arc<Transmitter>>, ReceiverFault> {
    let mut all = HashMap::new();
    for settings in settings {
        let transmitter = match previous.get(&settings.issuer).filter(|known| known.settings == *settings) {
            Some(same) => Arc::clone(same),
            None => Arc::new(transmitter(settings, taken)?),
        };
        all.insert(settings.issuer.clone(), transmitter);
    }
    Ok(all)
}

fn transmitter(settings: &SignalSettings, taken: &TakenTokens) -> Result<Transmitter, ReceiverFault> {
    let keys = Jwks::new(&settings.jwks, settings.ca.as_deref(), &settings.algorithms)
        .map_err(|fault| ReceiverFault::Keys { name: settings.name.clone(), fault })?;
    Ok(Transmitter {
        keys,
        replays: taken.of(&settings.issuer),
        rate: Rates::new(Duration::from_secs(1) / settings.tokens_per_second.max(1), settings.burst),
        settings: settings.clone(),
    })
}

#[cfg(test)]
mod tests;
