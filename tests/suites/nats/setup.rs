//! What the tests of this suite share: keys, records, desks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use policy_sync::lease::{LeaseAnswer, LeaseRequest};
use policy_sync::log::{Entry, Position, Record, Sealed};
use policy_sync::transport::nats::{
    Attendance, BusMetrics, Keys, NatsLink, NatsLinkOptions, NatsOptions, NatsTransport,
};
use policy_sync::transport::{AppendFault, Desk, Report, Transport, TransportFault};
use policy_sync::{KeyId, KeyRing, Role, SigningKey, TrustedKey};

/// The epoch of the logs here.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// A new key of this name.
pub(crate) fn key(name: &str) -> SigningKey {
    SigningKey::generate(KeyId::new(name).unwrap()).unwrap()
}

/// The key of a control plane, the keys of gateways, and the ring that knows them.
pub(crate) struct Ring {
    pub(crate) control: Arc<SigningKey>,
    ring: Mutex<KeyRing>,
}

impl Ring {
    pub(crate) fn new() -> Arc<Self> {
        let control = key("control-1");
        let mut ring = KeyRing::default();
        ring.add(TrustedKey::new(control.id().clone(), control.public(), &[Role::Control])).unwrap();
        Arc::new(Self { control: Arc::new(control), ring: Mutex::new(ring) })
    }

    /// The keys of a lab, of which `control` is that of its control planes.
    pub(crate) fn of(file: &std::path::Path, control: &SigningKey) -> Arc<Self> {
        let ring = KeyRing::parse("keys.toml", &std::fs::read_to_string(file).unwrap()).unwrap();
        let copy = tempfile::TempDir::new().unwrap().path().with_extension("key");
        control.write(&copy).unwrap();
        let control = SigningKey::read(control.id().clone(), &copy).unwrap();
        std::fs::remove_file(copy).unwrap();
        Arc::new(Self { control: Arc::new(control), ring: Mutex::new(ring) })
    }

    /// A key that the ring knows from now on.
    pub(crate) fn add(&self, name: &str, role: Role) -> SigningKey {
        let key = key(name);
        self.trust(&key, role);
        key
    }

    /// The same, with this key.
    pub(crate) fn trust(&self, key: &SigningKey, role: Role) {
        self.ring.lock().unwrap().add(TrustedKey::new(key.id().clone(), key.public(), &[role])).unwrap();
    }

    pub(crate) fn keys(self: &Arc<Self>) -> Keys {
        let own = Arc::clone(self);
        Arc::new(move || Arc::new(own.ring.lock().unwrap().clone()))
    }

    /// The end of a gateway of this name.
    pub(crate) fn link(self: &Arc<Self>, nats: NatsOptions, gateway: &str) -> Arc<NatsLink> {
        let report = self.add(gateway, Role::Gateway);
        NatsLink::new(NatsLinkOptions { nats, report }, self.keys()).unwrap()
    }

    /// The record of `number` that follows `after`.
    pub(crate) fn record(&self, after: &Position, by: &str) -> Sealed {
        let entry = Entry::Revocation(r#"{"for":"the log's order only"}"#.into());
        Record::seal(after, &entry, by, Timestamp::now(), &self.control).unwrap()
    }

    /// Has a desk attend to what comes in over this transport.
    pub(crate) async fn attend(self: &Arc<Self>, transport: &NatsTransport, desk: Arc<Noting>) -> BusMetrics {
        let metrics = BusMetrics::register(&prometheus::Registry::new()).unwrap();
        let attendance = Attendance {
            desk,
            keys: self.keys(),
            control: Arc::clone(&self.control),
            metrics: metrics.clone(),
        };
        transport.attend(attendance).await.unwrap();
        metrics
    }
}

/// Writes one record at the end of the log, wherever that is by then; says where.
pub(crate) async fn write(transport: &NatsTransport, ring: &Ring, at: &mut Position, by: &str) -> Position {
    loop {
        catch_up(transport, at).await;
        let record = ring.record(at, by);
        match transport.append(&record).await {
            Ok(()) => {
                *at = record.position;
                return record.position;
            }
            Err(AppendFault::Taken) => {}
            Err(AppendFault::Transport(fault)) => panic!("{fault}"),
        }
    }
}

/// Reads on to the end of the log.
pub(crate) async fn catch_up(transport: &NatsTransport, at: &mut Position) {
    loop {
        let records = transport.read(at.sequence, 100).await.unwrap();
        if records.is_empty() {
            return;
        }
        for record in records {
            *at = follow(&record, at);
        }
    }
}

/// The position of a record that must follow.
pub(crate) fn follow(record: &[u8], at: &Position) -> Position {
    let record = Record::read_own(record).unwrap();
    assert!(record.follows(at), "{} does not follow {at}", record.position);
    record.position
}

/// Everything that was said to a desk.
#[derive(Default)]
pub(crate) struct Noting {
    heard: Mutex<HashMap<String, Vec<(u64, Report)>>>,
    left: Mutex<Vec<(String, u64)>>,
    leases: Mutex<Vec<(String, LeaseRequest)>>,
}

impl Noting {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn reports(&self, gateway: &str) -> Vec<(u64, Report)> {
        self.heard.lock().unwrap().get(gateway).cloned().unwrap_or_default()
    }

    pub(crate) fn departures(&self) -> Vec<(String, u64)> {
        self.left.lock().unwrap().clone()
    }

    pub(crate) fn leases(&self) -> usize {
        self.leases.lock().unwrap().len()
    }
}

impl Desk for Noting {
    fn reported(&self, gateway: &str, connection: u64, report: Report) {
        self.heard.lock().unwrap().entry(gateway.to_owned()).or_default().push((connection, report));
    }

    fn left(&self, gateway: &str, connection: u64) {
        self.left.lock().unwrap().push((gateway.to_owned(), connection));
    }

    fn lease<'a>(
        &'a self,
        gateway: &'a str,
        request: LeaseRequest,
    ) -> BoxFuture<'a, Result<LeaseAnswer, TransportFault>> {
        let granted = request.granted + request.want;
        self.leases.lock().unwrap().push((gateway.to_owned(), request));
        Box::pin(async move { Ok(LeaseAnswer { granted: Some(granted), left: Some(7) }) })
    }
}
