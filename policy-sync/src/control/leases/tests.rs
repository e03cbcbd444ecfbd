//! Budgets through cells that several control planes change at once, and that fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use config::Limit;
use futures_util::future::BoxFuture;

use super::{LeaseMetrics, LeaseRefusal, Leases};
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::log::Sealed;
use crate::revocations::Revocations;
use crate::snapshot::{PolicyBounds, Snapshot};
use crate::target::Target;
use crate::testing::{Draft, revocation};
use crate::transport::{AppendFault, CellVersion, Frame, Transport, TransportFault};

/// Cells in memory. Every few writes one fails, half of those after it has been made.
#[derive(Default)]
struct Cells {
    cells: Mutex<HashMap<String, (CellVersion, Bytes)>>,
    writes: AtomicU64,
    fails_every: Option<u64>,
}

fn fault() -> TransportFault {
    TransportFault("told to fail".into())
}

impl Cells {
    fn failing_every(writes: u64) -> Self {
        Self { fails_every: Some(writes), ..Self::default() }
    }

    fn keys(&self) -> Vec<String> {
        self.cells.lock().unwrap().keys().cloned().collect()
    }
}

impl Transport for Cells {
    fn cell<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<(CellVersion, Bytes)>, TransportFault>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.cells.lock().unwrap().get(key).cloned())
        })
    }

    fn cells<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, TransportFault>> {
        let keys = self.keys().into_iter().filter(|key| key.starts_with(prefix)).collect();
        Box::pin(async { Ok(keys) })
    }

    fn set_cell<'a>(
        &'a self,
        key: &'a str,
        expected: Option<CellVersion>,
        value: Bytes,
    ) -> BoxFuture<'a, Result<(), AppendFault>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let write = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
            let fails = self.fails_every.is_some_and(|every| write.is_multiple_of(every));
            if fails && write.is_multiple_of(2) {
                return Err(fault().into());
            }
            let mut cells = self.cells.lock().unwrap();
            if cells.get(key).map(|(version, _)| *version) != expected {
                return Err(AppendFault::Taken);
            }
            match value.is_empty() {
                true => drop(cells.remove(key)),
                false => drop(cells.insert(key.to_owned(), (write, value))),
            }
            if fails { Err(fault().into()) } else { Ok(()) }
        })
    }

    fn read(&self, _: u64, _: usize) -> BoxFuture<'_, Result<Vec<Bytes>, TransportFault>> {
        unreachable!("budgets are not in the log")
    }
    fn append<'a>(&'a self, _: &'a Sealed) -> BoxFuture<'a, Result<(), AppendFault>> {
        unreachable!("budgets are not in the log")
    }
    fn grown(&self, _: u64) -> BoxFuture<'_, ()> {
        unreachable!("budgets are not in the log")
    }
    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Bytes>, TransportFault>> {
        unreachable!("budgets are not in the log")
    }
    fn chunk<'a>(&'a self, _: &'a [u8; 32]) -> BoxFuture<'a, Result<Option<Bytes>, TransportFault>> {
        unreachable!("budgets are not in the log")
    }
    fn keep_chunk<'a>(&'a self, _: &'a [u8; 32], _: Bytes) -> BoxFuture<'a, Result<(), TransportFault>> {
        unreachable!("budgets are not in the log")
    }
    fn keep_snapshot(&self, _: Bytes, _: u64) -> BoxFuture<'_, Result<(), TransportFault>> {
        unreachable!("budgets are not in the log")
    }
    fn broadcast(&self, _: Frame) {
        unreachable!("budgets are not in the log")
    }
}

fn plane(cells: &Arc<Cells>, now: i64) -> Leases {
    let metrics = LeaseMetrics::register(&prometheus::Registry::new()).unwrap();
    Leases::new(Arc::clone(cells) as Arc<dyn Transport>, Limit::Bytes(700), now, metrics)
}

/// A policy with one manifest, of the limits that `network` spells, issued at this second for an hour.
fn policy(allow: &str, network: &str, issued_at: i64) -> Snapshot {
    let live = Draft { allow, more: network, ..Draft::default() }.live(issued_at);
    Snapshot::build(1, PolicyBounds::default(), [live], [])
}

fn of_bytes(limit: u64, issued_at: i64) -> Snapshot {
    policy(r#""a.example.com""#, &format!(r#","upload_bytes":{limit}"#), issued_at)
}

fn request(account: u64, granted: u64, want: u64) -> LeaseRequest {
    LeaseRequest {
        device: "device-1".into(),
        agent: "agent-1".into(),
        rule: None,
        issued_at: 1000,
        account,
        granted,
        returned: 0,
        want,
        closes: false,
    }
}

fn answer(granted: u64, left: u64) -> LeaseAnswer {
    LeaseAnswer { granted: Some(granted), left: Some(left) }
}

#[tokio::test]
async fn the_limit_is_the_control_planes_own_copy() {
    let rule = r#"{"host":"a.example.com","upload_bytes":300},"b.example.com""#;
    for (what, policy, rule, expected) in [
        ("the manifest's", of_bytes(500, 1000), None, answer(500, 0)),
        ("the default of a silent one", policy(rule, "", 1000), None, answer(700, 0)),
        ("the rule's", policy(rule, "", 1000), Some("a.example.com:443"), answer(300, 0)),
        (
            "a rule without one",
            policy(rule, "", 1000),
            Some("b.example.com:443"),
            LeaseAnswer { granted: Some(9000), left: None },
        ),
    ] {
        let cells = Arc::new(Cells::default());
        let request = LeaseRequest { rule: rule.map(Into::into), ..request(7, 0, 9000) };
        let given = plane(&cells, 1001).hand_out("gw-1", &request, &policy, 1001).await.unwrap();
        assert_eq!(given, expected, "{what}");
    }
}

#[tokio::test]
async fn nothing_is_handed_out_without_a_manifest_in_force() {
    let live = of_bytes(500, 1000);
    let mut suspended = of_bytes(500, 1000);
    suspended.revocations = Revocations::new();
    suspended.revocations.insert(Arc::new(revocation(Target::Manifest("cm-1".parse().unwrap()))));
    type Expected = fn(&LeaseRefusal) -> bool;
    let refusals: [(LeaseRequest, &Snapshot, i64, Expected); 7] = [
        (LeaseRequest { device: "not a device".into(), ..request(7, 0, 1) }, &live, 1001, |refusal| {
            matches!(refusal, LeaseRefusal::Malformed("device"))
        }),
        (LeaseRequest { returned: 5, ..request(7, 0, 1) }, &live, 1001, |refusal| {
            matches!(refusal, LeaseRefusal::Malformed("granted"))
        }),
        (LeaseRequest { agent: "agent-2".into(), ..request(7, 0, 1) }, &live, 1001, |refusal| {
            matches!(refusal, LeaseRefusal::NoManifest)
        }),
        (
            LeaseRequest { rule: Some("z.example.com:443".into()), ..request(7, 0, 1) },
            &live,
            1001,
            |refusal| matches!(refusal, LeaseRefusal::NoRule),
        ),
        (LeaseRequest { issued_at: 1001, ..request(7, 0, 1) }, &live, 1001, |refusal| {
            matches!(refusal, LeaseRefusal::Behind)
        }),
        (request(7, 0, 1), &live, 4600, |refusal| matches!(refusal, LeaseRefusal::NoAuthority(_))),
        (request(7, 0, 1), &suspended, 1001, |refusal| matches!(refusal, LeaseRefusal::NoAuthority(_))),
    ];
    for (request, policy, now, expected) in refusals {
        let cells = Arc::new(Cells::default());
        let refusal = plane(&cells, now).hand_out("gw-1", &request, policy, now).await.unwrap_err();
        assert!(expected(&refusal), "{refusal}");
        assert!(cells.keys().is_empty(), "nothing was written down");
    }
}

#[tokio::test]
async fn a_window_ends_with_the_manifest_that_opened_it_and_the_next_is_full() {
    let cells = Arc::new(Cells::default());
    let before = plane(&cells, 4599);
    let first = of_bytes(500, 1000);
    let given = before.hand_out("gw-1", &request(7, 0, 500), &first, 4599).await.unwrap();
    assert_eq!(given, answer(500, 0));
    let second = of_bytes(500, 2000);
    let given = before.hand_out("gw-2", &request(8, 0, 500), &second, 4599).await.unwrap();
    assert_eq!(given, answer(0, 0), "signed again, in the same window");
    let after = plane(&cells, 4600);
    let given = after.hand_out("gw-2", &request(8, 0, 500), &second, 4600).await.unwrap();
    assert_eq!(given, answer(500, 0), "the window has ended");
    let given = after.hand_out("gw-1", &request(7, 500, 500), &second, 4600).await.unwrap();
    assert_eq!(given, LeaseAnswer { granted: None, left: Some(0) }, "an account of the window before");
}

#[tokio::test]
async fn a_clock_that_jumps_refills_nothing() {
    let cells = Arc::new(Cells::default());
    let plane = plane(&cells, 1001);
    let first = of_bytes(500, 1000);
    plane.hand_out("gw-1", &request(7, 0, 500), &first, 1001).await.unwrap();
    let later = Draft { ttl: 20_000, more: r#","upload_bytes":500"#, ..Draft::default() }.live(1500);
    let later = Snapshot::build(2, PolicyBounds::default(), [later], []);
    let given = plane.hand_out("gw-2", &request(8, 0, 500), &later, 9000).await.unwrap();
    assert_eq!(given, answer(0, 0), "the wall clock says that the window is over, the steady clock does not");
}

#[tokio::test]
async fn ended_budgets_are_forgotten() {
    let cells = Arc::new(Cells::default());
    let first = of_bytes(500, 1000);
    plane(&cells, 1001).hand_out("gw-1", &request(7, 0, 500), &first, 1001).await.unwrap();
    assert_eq!(cells.keys().len(), 2, "a window, and what is handed out in it");
    assert_eq!(plane(&cells, 4700).forget_ended(4700).await.unwrap(), 0);
    assert_eq!(plane(&cells, 5200).forget_ended(5200).await.unwrap(), 2);
    assert!(cells.keys().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_a_full_budget() {
    let cells = Arc::new(Cells::default());
    let live = of_bytes(500, 1000);
    let plane = plane(&cells, 1001);
    plane.hand_out("gw-1", &request(7, 0, 500), &live, 1001).await.unwrap();
    for key in cells.keys() {
        let kept = cells.cells.lock().unwrap().insert(key.clone(), (99, Bytes::from_static(b"{")));
        let refusal = plane.hand_out("gw-1", &request(8, 0, 500), &live, 1001).await.unwrap_err();
        assert!(matches!(refusal, LeaseRefusal::Damaged));
        cells.cells.lock().unwrap().insert(key, kept.unwrap());
    }
}

/// One gateway: asks again and again, loses every fifth answer, until nothing is left; returns what it was granted.
async fn drain(plane: Arc<Leases>, policy: Snapshot, account: u64) -> u64 {
    let gateway = format!("gw-{}", account % 5);
    let mut held = 0;
    let mut answers = account;
    loop {
        let want = 1 + (account * 7919 + held) % 90_000;
        match plane.hand_out(&gateway, &request(account, held, want), &policy, 1001).await {
            Ok(LeaseAnswer { granted: Some(granted), left }) => {
                answers += 1;
                if granted == held && left == Some(0) {
                    return held;
                }
                if !answers.is_multiple_of(5) {
                    held = granted;
                }
            }
            Ok(unknown) => panic!("{unknown:?}"),
            Err(LeaseRefusal::Transport(_) | LeaseRefusal::Busy) => {}
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn control_planes_that_race_hand_out_the_limit_between_them_and_not_a_byte_more() {
    const LIMIT: u64 = 3_000_017;
    for cells in [Cells::default(), Cells::failing_every(7)] {
        let cells = Arc::new(cells);
        let planes: Vec<_> = (0..3).map(|_| Arc::new(plane(&cells, 1001))).collect();
        let gateways: Vec<_> = (1..=12_u64)
            .map(|account| {
                let plane = &planes[usize::try_from(account).unwrap() % planes.len()];
                tokio::spawn(drain(Arc::clone(plane), of_bytes(LIMIT, 1000), account))
            })
            .collect();
        let mut held = 0;
        for gateway in gateways {
            held += gateway.await.unwrap();
        }
        assert_eq!(held, LIMIT);
    }
}
