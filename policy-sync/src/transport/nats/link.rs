//! The gateway's end.
//!
//! A connection is whole as long as heartbeats come. When they stop, or the connection breaks, or messages were lost because
//! they came faster than they were taken, it is given up, and the next one is made from the start, to any of the servers,
//! with the files as they are then.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::attend::now_us;
use super::bus::Bus;
use super::durable::{TRY, transport_fault};
use super::fetch;
use super::names::{Names, is_subject};
use super::records::{self, Era};
use super::snapshots::{self, BUCKET, HEAD, chunk_key};
use super::word::{Asked, Reported, answered, seal};
use super::{Keys, NatsFault, NatsOptions};
use crate::envelope::PayloadType;
use crate::keys::SigningKey;
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::log::Position;
use crate::transport::{Frame, FrameSink, Link, Report, TransportFault};

/// Heartbeats come every second; after so long without one the connection is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// How many reports wait to be sent.
const WAITING_REPORTS: usize = 256;

/// How a gateway is connected.
#[derive(Debug)]
pub struct NatsLinkOptions {
    /// Where the servers are.
    pub nats: NatsOptions,
    /// The key that signs reports. Its name is the gateway's.
    pub report: SigningKey,
}

/// The gateway's end.
pub struct NatsLink {
    options: NatsLinkOptions,
    keys: Keys,
    names: Names,
    bus: tokio::sync::Mutex<Option<Arc<Bus>>>,
    outbox: Mutex<Option<mpsc::Sender<Report>>>,
    last_us: AtomicU64,
    era: Mutex<Option<(u64, Era)>>,
}

impl std::fmt::Debug for NatsLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsLink").field("options", &self.options).finish_non_exhaustive()
    }
}

impl NatsLink {
    /// Does not connect yet: that is done by following.
    ///
    /// # Errors
    /// [`NatsFault::Options`] when the prefix or the gateway's name cannot be part of a subject.
    pub fn new(options: NatsLinkOptions, keys: Keys) -> Result<Arc<Self>, NatsFault> {
        let names = Names::new(&options.nats.prefix)?;
        if !is_subject(options.report.id().as_str()) {
            let message = "the name of the report key must not begin or end with a dot, or have two in a row";
            return Err(NatsFault::Options(message.into()));
        }
        Ok(Arc::new(Self {
            options,
            keys,
            names,
            bus: tokio::sync::Mutex::new(None),
            outbox: Mutex::new(None),
            last_us: AtomicU64::new(0),
            era: Mutex::new(None),
        }))
    }

    fn gateway(&self) -> &str {
        self.options.report.id().as_str()
    }

    /// The connection; a new one when there is none.
    async fn bus(&self) -> Result<Arc<Bus>, TransportFault> {
        let mut slot = self.bus.lock().await;
        if let Some(bus) = &*slot {
            return Ok(Arc::clone(bus));
        }
        let inbox = self.names.inbox(self.gateway());
        let connected = Bus::connect(&self.options.nats, &inbox).await;
        let bus = Arc::new(connected.map_err(|fault| TransportFault(fault.to_string()))?);
        *slot = Some(Arc::clone(&bus));
        Ok(bus)
    }

    async fn run(&self, hello: Report, mut each: FrameSink<'_>) -> Result<Infallible, TransportFault> {
        let bus = self.bus().await?;
        let mut breaks = bus.breaks();
        breaks.mark_unchanged();
        let mut frames =
            bus.client().subscribe(self.names.live_all()).await.map_err(|fault| transport_fault(&fault))?;
        let connection = self.instant();
        self.send(&bus, connection, hello).await?;
        let (outbox, mut reports) = mpsc::channel(WAITING_REPORTS);
        let _outbox = Outbox::put(&self.outbox, outbox);
        let silence = tokio::time::sleep(SILENCE);
        tokio::pin!(silence);
        loop {
            tokio::select! {
                biased;
                _ = breaks.changed() => return Err(TransportFault("the connection to NATS broke".into())),
                Some(report) = reports.recv() => self.send(&bus, connection, report).await?,
                message = frames.next() => {
                    let Some(message) = message else {
                        return Err(TransportFault("the connection to NATS was closed".into()));
                    };
                    let Some(frame) = Names::frame(&message.subject, message.payload) else { continue };
                    if matches!(frame, Frame::Heartbeat(_)) {
                        silence.as_mut().reset(tokio::time::Instant::now() + SILENCE);
                    }
                    each(frame);
                }
                () = &mut silence => return Err(TransportFault("no heartbeat came over NATS for 10 s".into())),
            }
        }
    }

    async fn send(&self, bus: &Bus, connection: u64, report: Report) -> Result<(), TransportFault> {
        let gateway = self.gateway().to_owned();
        let word = Reported { gateway, connection, at_us: self.instant(), report };
        let envelope = seal(PayloadType::Report, &word, &self.options.report);
        let sent = bus.client().publish(self.names.report(self.gateway()), envelope).await;
        sent.map_err(|fault| transport_fault(&fault))
    }

    /// Unix microseconds, later than any that were given before.
    fn instant(&self) -> u64 {
        let now = now_us();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        last.map_or(now, |last| now.max(last + 1))
    }

    /// Which log there is, as far as it matters for one who follows this epoch; `None` when it is another.
    async fn era(&self, bus: &Bus, epoch: u64) -> Result<Option<Era>, TransportFault> {
        let known = *self.era.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, era)) = known.filter(|(known, _)| *known == epoch) {
            return Ok(Some(era));
        }
        let head = fetch::value(bus.client(), &self.names.bucket(BUCKET), HEAD).await?;
        let Some(era) = head.map(|(headers, _)| snapshots::era(&headers)) else {
            return Ok(Some(Era { epoch: None, base: 0 }));
        };
        match era.epoch {
            Some(own) if own == epoch => {
                // Where an epoch begins in the stream never changes.
                *self.era.lock().unwrap_or_else(PoisonError::into_inner) = Some((own, era));
                Ok(Some(era))
            }
            Some(_) if epoch == 0 => Ok(Some(era)),
            Some(_) => Ok(None),
            None => Ok(Some(era)),
        }
    }

    async fn ask(&self, request: LeaseRequest) -> Result<LeaseAnswer, TransportFault> {
        let bus = self.bus().await?;
        let nonce = uuid::Uuid::now_v7().simple().to_string();
        let asked = Asked { gateway: self.gateway().to_owned(), at_us: now_us(), nonce, request };
        let envelope = seal(PayloadType::Lease, &asked, &self.options.report);
        let answer = bus.client().request(self.names.lease(self.gateway()), envelope);
        let Ok(answer) = tokio::time::timeout(TRY, answer).await else {
            return Err(TransportFault("NATS: no control plane answered".into()));
        };
        let answer = answer.map_err(|fault| transport_fault(&fault))?;
        match answered(&answer.payload, &asked, &(self.keys)()) {
            Ok(answered) => answered
                .answer
                .ok_or_else(|| TransportFault(answered.fault.unwrap_or_else(|| "no lease".into()))),
            Err(refused) => Err(TransportFault(format!("the answer to a lease is refused: {refused}"))),
        }
    }

    async fn value(&self, key: &str) -> Result<Option<Bytes>, TransportFault> {
        let bus = self.bus().await?;
        let value = fetch::value(bus.client(), &self.names.bucket(BUCKET), key).await?;
        Ok(value.map(|(_, value)| value))
    }
}

impl Link for NatsLink {
    fn follow<'a>(&'a self, hello: Report, each: FrameSink<'a>) -> BoxFuture<'a, TransportFault> {
        Box::pin(async move {
            let Err(fault) = self.run(hello, each).await;
            self.bus.lock().await.take();
            fault
        })
    }

    fn report(&self, report: Report) {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outbox) = &*outbox
            && outbox.try_send(report).is_err()
        {
            tracing::warn!("a report was dropped: NATS does not take them fast enough");
        }
    }

    fn records(&self, after: &Position, most: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        let after = *after;
        Box::pin(async move {
            let bus = self.bus().await?;
            let Some(era) = self.era(&bus, after.epoch).await? else { return Ok(Vec::new()) };
            let (name, subject) = (self.names.log_stream(), self.names.log_subject());
            let mut jetstream = jetstream::new(bus.client().clone());
            jetstream.set_timeout(TRY);
            let stream =
                jetstream.get_stream_no_info(&name).await.map_err(|fault| transport_fault(&fault))?;
            records::read(bus.client(), &stream, (&name, &subject), era.place(after.sequence + 1), most).await
        })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        Box::pin(self.value(HEAD))
    }

    fn chunk<'a>(&'a self, digest: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        Box::pin(async move { self.value(&chunk_key(digest)).await })
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        Box::pin(self.ask(request))
    }
}

/// Where reports can be put while there is a connection.
struct Outbox<'a>(&'a Mutex<Option<mpsc::Sender<Report>>>);

impl<'a> Outbox<'a> {
    fn put(slot: &'a Mutex<Option<mpsc::Sender<Report>>>, outbox: mpsc::Sender<Report>) -> Self {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outbox);
        Self(slot)
    }
}

impl Drop for Outbox<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
