//! A control plane and gateways in one process, with a network between them that fails when told to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{Limit, ManifestDraft, Source};
use futures_util::future::BoxFuture;
use policy_sync::control::leases::{LeaseMetrics, Leases};
use policy_sync::lease::{LeaseAnswer, LeaseRequest};
use policy_sync::transport::TransportFault;
use policy_sync::transport::memory::MemoryLog;
use policy_sync::{LiveManifest, PolicyBounds, Snapshot};
use proptest::prelude::*;

use super::super::disk::Disk;
use super::super::{Granted, round, tokio_block, turn};
use super::granted;
use crate::budget::store::Store;
use crate::budget::{Budgets, Grants, Meter, Reserved};

pub(super) const LIMIT: u64 = 5_000_017;

/// When the manifests of these tests were issued.
pub(super) fn live() -> i64 {
    1000
}

const NOW: i64 = 1002;

/// A policy with one manifest of this limit.
pub(super) fn policy(limit: u64, issued_at: i64) -> Snapshot {
    written(&format!(r#""allow":["a.example.com"],"upload_bytes":{limit}"#), issued_at)
}

pub(super) fn policy_with_rule(limit: u64, of_rule: u64, issued_at: i64) -> Snapshot {
    let rule = format!(r#"{{"host":"a.example.com","upload_bytes":{of_rule}}}"#);
    written(&format!(r#""allow":[{rule}],"upload_bytes":{limit}"#), issued_at)
}

fn written(network: &str, issued_at: i64) -> Snapshot {
    let text = format!(
        r#"{{"agent":"cowork-v1.0","identity":{{"user":"alice","device":"device-123"}},
        "capabilities":{{"network":{{{network}}}}},"ttl_seconds":3600}}"#
    );
    let draft = ManifestDraft::read(&Source::new("manifest.json", text)).unwrap();
    let manifest = draft.identified("cm-1".parse().unwrap());
    let live = LiveManifest::new(manifest, issued_at, [7; 32], Vec::new(), Duration::from_secs(86_400));
    Snapshot::build(1, PolicyBounds::default(), [live], [])
}

/// Two control planes over one log; requests go to either.
#[derive(Clone)]
pub(super) struct ControlPlane(Arc<Planes>);

struct Planes {
    leases: [Leases; 2],
    policy: Mutex<Snapshot>,
    up: AtomicBool,
    requests: AtomicU64,
    /// Of how many answers one is lost; none when 0.
    loses: AtomicU64,
}

impl ControlPlane {
    pub(super) fn new(policy: Snapshot) -> Self {
        let log = MemoryLog::default();
        let leases = [(); 2].map(|()| {
            let metrics = LeaseMetrics::register(&prometheus::Registry::new()).unwrap();
            Leases::new(Arc::new(log.clone()), Limit::Bytes(1), NOW, metrics)
        });
        Self(Arc::new(Planes {
            leases,
            policy: Mutex::new(policy),
            up: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            loses: AtomicU64::new(0),
        }))
    }

    /// A gateway with its threads.
    pub(super) fn gateway(&self, name: &str) -> Gateway {
        let disk = Disk::default();
        let budgets =
            Budgets::over(Store::over(disk.opener()).unwrap(), Some(&prometheus::Registry::new()), NOW);
        Gateway::connected(budgets.unwrap(), disk, self, name)
    }

    /// Whether requests get through.
    pub(super) fn go(&self, up: bool) {
        self.0.up.store(up, Ordering::SeqCst);
    }

    pub(super) fn decide(&self, policy: Snapshot) {
        *self.0.policy.lock().unwrap() = policy;
    }

    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// What gateways hold or have spent, by what the control plane says is left.
    pub(super) fn handed_out(&self) -> u64 {
        let policy = self.0.policy.lock().unwrap().clone();
        let Some(Limit::Bytes(limit)) =
            policy.manifests().next().and_then(|live| live.manifest.network.upload_bytes)
        else {
            panic!("a limit")
        };
        let probe = LeaseRequest {
            device: "device-123".into(),
            agent: "cowork-v1.0".into(),
            rule: None,
            issued_at: 0,
            account: 0,
            granted: 0,
            returned: 0,
            want: 0,
            closes: false,
        };
        let asked = || self.0.leases[0].hand_out("probe", &probe, &policy, NOW);
        let answer = std::thread::scope(|scope| scope.spawn(|| tokio_block(asked())).join().unwrap());
        limit - answer.unwrap().left.unwrap()
    }
}

/// A gateway's end.
struct Connection {
    plane: ControlPlane,
    name: String,
}

impl Grants for Connection {
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'_, Result<LeaseAnswer, TransportFault>> {
        Box::pin(async move {
            let planes = &self.plane.0;
            let count = planes.requests.fetch_add(1, Ordering::SeqCst);
            if !planes.up.load(Ordering::SeqCst) {
                return Err(TransportFault("unplugged".into()));
            }
            let policy = planes.policy.lock().unwrap().clone();
            let leases = if count.is_multiple_of(2) { &planes.leases[0] } else { &planes.leases[1] };
            let answer = leases.hand_out(&self.name, &request, &policy, NOW).await;
            let loses = planes.loses.load(Ordering::SeqCst);
            if loses > 0 && count.is_multiple_of(loses) {
                return Err(TransportFault("the answer was lost".into()));
            }
            answer.map_err(|refusal| TransportFault(refusal.to_string()))
        })
    }
}

/// A gateway: its budgets, and the disk that survives it.
pub(super) struct Gateway {
    pub(super) budgets: Budgets,
    disk: Disk,
    plane: ControlPlane,
    name: String,
}

impl Gateway {
    fn connected(budgets: Budgets, disk: Disk, plane: &ControlPlane, name: &str) -> Self {
        budgets.draw_from(Arc::new(Connection { plane: plane.clone(), name: name.to_owned() }));
        Self { budgets, disk, plane: plane.clone(), name: name.to_owned() }
    }

    /// A gateway without threads: a test takes their turns.
    pub(super) fn by_hand(plane: &ControlPlane, name: &str) -> Self {
        Self::on(Disk::default(), plane, name)
    }

    fn on(disk: Disk, plane: &ControlPlane, name: &str) -> Self {
        let store = Store::over(disk.opener()).unwrap();
        let budgets = Budgets::without_writer(store, Some(&prometheus::Registry::new()), NOW).unwrap();
        Self::connected(budgets, disk, plane, name)
    }

    /// The process dies, and another one begins with what was on the disk.
    pub(super) fn crash(&mut self) {
        *self = Self::on(Disk::holding(self.disk.image()), &self.plane, &self.name);
    }

    /// The process ends in good order, and another one begins.
    fn restart(&mut self) {
        self.budgets.ledger.desk.close();
        self.budgets.ledger.run().unwrap();
        self.errands();
        self.crash();
    }

    pub(super) fn move_to(&mut self, plane: &ControlPlane) {
        self.plane = plane.clone();
        self.crash();
    }

    fn errands(&self) {
        tokio_block(self.budgets.ledger.fleet.as_ref().unwrap().run_waiting_errands());
    }

    /// What the threads do when somebody asks.
    pub(super) fn turns(&self) {
        for _ in 0..3 {
            turn(&self.budgets);
            self.errands();
        }
    }

    /// What they do once a second.
    pub(super) fn round(&self) {
        round(&self.budgets);
        self.turns();
    }

    /// Sends up to `bytes`, until nothing more is to be had; says how much.
    pub(super) fn pours(&self, meter: &Meter, bytes: u64) -> u64 {
        let before = meter.uploaded();
        let mut dry = 0;
        while meter.uploaded() - before < bytes && dry < 3 {
            let wish = bytes - (meter.uploaded() - before);
            match meter.reserve(usize::try_from(wish).unwrap()) {
                Reserved::Granted(granted) => {
                    meter.settle(granted, granted);
                    dry = 0;
                }
                Reserved::Spent(_) => break,
                Reserved::NeedsLease => {
                    // Says that it waits, and takes the others' turns instead.
                    let waits = meter.lease_extended();
                    if tokio_block(async { tokio::time::timeout(Duration::ZERO, waits).await })
                        .is_ok_and(|out| out.is_err())
                    {
                        break;
                    }
                    self.turns();
                    dry += 1;
                }
                Reserved::Busy => panic!("nobody else is writing"),
            }
        }
        meter.uploaded() - before
    }

    pub(super) fn spent(&self, granted: &Granted) -> u64 {
        granted.spent(&self.budgets)
    }
}

impl Granted {
    pub(super) fn meter_now(&self, gateway: &Gateway) -> Meter {
        gateway.budgets.meter(&self.subject(), NOW).unwrap()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    Pour(usize, u64),
    Close(usize),
    Turns(usize),
    Round(usize),
    Crash(usize),
    Restart(usize),
    Plane(bool),
    Lose(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..3_usize;
    prop_oneof![
        4 => who().prop_map(Step::Open),
        10 => (who(), 0..900_000_u64).prop_map(|(who, bytes)| Step::Pour(who, bytes)),
        2 => who().prop_map(Step::Close),
        2 => who().prop_map(Step::Turns),
        4 => who().prop_map(Step::Round),
        1 => who().prop_map(Step::Crash),
        1 => who().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::Plane),
        1 => (0..4_u64).prop_map(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_history_of_gateways_sends_more_than_the_limit_and_healthy_ones_send_the_rest(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let plane = ControlPlane::new(policy(LIMIT, live()));
        let mut gateways: Vec<_> = (0..3).map(|number| Gateway::by_hand(&plane, &format!("gw-{number}"))).collect();
        let mut meters: [Vec<Meter>; 3] = [const { Vec::new() }; 3];
        let mut sent = 0;
        for step in steps {
            match step {
                Step::Open(who) => meters[who].push(granted().meter_now(&gateways[who])),
                Step::Pour(who, bytes) => if let Some(meter) = meters[who].last() {
                    sent += gateways[who].pours(meter, bytes);
                },
                Step::Close(who) => drop(meters[who].pop()),
                Step::Turns(who) => gateways[who].turns(),
                Step::Round(who) => gateways[who].round(),
                Step::Crash(who) => { meters[who].clear(); gateways[who].crash(); }
                Step::Restart(who) => { meters[who].clear(); gateways[who].restart(); }
                Step::Plane(up) => plane.go(up),
                Step::Lose(every) => plane.0.loses.store(every, Ordering::SeqCst),
            }
            prop_assert!(sent <= LIMIT, "{sent}");
        }
        plane.go(true);
        plane.0.loses.store(0, Ordering::SeqCst);
        for meters in &mut meters {
            meters.clear();
        }
        for _ in 0..6 {
            gateways.iter().for_each(Gateway::round);
        }
        // What is handed out and was not sent was held by a gateway when it died.
        let lost = plane.handed_out() - sent;
        let meters: Vec<_> = gateways.iter().map(|gateway| granted().meter_now(gateway)).collect();
        for (gateway, meter) in gateways.iter().zip(&meters) {
            sent += gateway.pours(meter, u64::MAX);
        }
        prop_assert_eq!(sent + lost, LIMIT);
    }
}
