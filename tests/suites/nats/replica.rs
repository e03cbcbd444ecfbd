//! A control plane over NATS, as one process holds it.

use std::sync::Arc;
use std::time::Duration;

use audit::{Recorder, RecorderOptions, Sink};
use lab::wait::PATIENCE;
use lab::{eventually, promptly};
use policy_sync::control::{Plane, PlaneOptions, RevokeOrder, RevokeWhat, Revoked};
use policy_sync::snapshot::PolicyBounds;
use policy_sync::transport::nats::{Attendance, BusMetrics, NatsOptions, NatsTransport};
use policy_sync::{Approvals, KeyId, Role, SigningKey, Target};
use tempfile::TempDir;

use super::setup::Ring;

/// Two keys that every replica has, in files as replicas have them.
pub(crate) struct Files {
    dir: TempDir,
    pub(crate) ring: Arc<Ring>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let ring = Ring::new();
        let revoker = ring.add("revoker-1", Role::Revoker);
        Self::with(ring, &revoker)
    }

    /// The same over a ring that has the keys already.
    pub(crate) fn with(ring: Arc<Ring>, revoker: &SigningKey) -> Self {
        let dir = TempDir::new().unwrap();
        ring.control.write(&dir.path().join("control-1")).unwrap();
        revoker.write(&dir.path().join("revoker-1")).unwrap();
        Self { dir, ring }
    }

    fn key(&self, name: &str) -> SigningKey {
        SigningKey::read(KeyId::new(name).unwrap(), &self.dir.path().join(name)).unwrap()
    }

    /// A control plane, as one process holds it.
    pub(crate) async fn replica(&self, name: &str, nats: &NatsOptions) -> Replica {
        let transport = NatsTransport::open(nats).await.unwrap();
        let registry = prometheus::Registry::new();
        let sink = RecorderOptions::new(name, Sink::File(self.dir.path().join(format!("{name}.jsonl"))));
        let recorder = Recorder::open(sink, &registry).unwrap();
        let options = PlaneOptions {
            name: name.to_owned(),
            transport: transport.clone(),
            ring: (*(self.ring.keys())()).clone(),
            control: self.key("control-1"),
            revoker: Some(self.key("revoker-1")),
            approver: None,
            approvals: Approvals::default(),
            crl_issuers: certs::CrlIssuers::anybody(),
            bounds: PolicyBounds::default(),
            silent_upload: config::Limit::Bytes(0),
            new_epoch: false,
            recorder,
            registry: registry.clone(),
        };
        let plane = Plane::open(options).await.unwrap();
        let attendance = Attendance {
            desk: plane.clone(),
            keys: self.ring.keys(),
            control: Arc::new(self.key("control-1")),
            metrics: BusMetrics::register(&registry).unwrap(),
        };
        transport.attend(attendance).await.unwrap();
        Replica { plane, _transport: transport }
    }
}

pub(crate) struct Replica {
    pub(crate) plane: Arc<Plane>,
    _transport: Arc<NatsTransport>,
}

impl Replica {
    pub(crate) async fn revoke(&self, device: &str, wait: Duration) -> Revoked {
        let what = RevokeWhat::Unsigned {
            target: Target::Device(device.parse().unwrap()),
            reason: "lost".into(),
            timestamp: None,
        };
        let order = RevokeOrder { what, by: "alice@example.com".into(), wait };
        promptly("the answer comes", self.plane.revoke(order)).await.unwrap()
    }

    pub(crate) async fn knows(&self, gateway: &str, connected: bool) {
        eventually(PATIENCE, "the replica knows the gateway", async || {
            let all = self.plane.gateways();
            all.iter().any(|status| status.name == gateway && status.connected == connected).then_some(())
        })
        .await;
    }

    pub(crate) fn has_revoked(&self, device: &str) -> bool {
        let target = Target::Device(device.parse().unwrap());
        self.plane.with_state(|state| state.policy().revocations().iter().any(|there| there.target == target))
    }
}
