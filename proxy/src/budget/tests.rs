//! Budgets as a whole: over scopes, windows, manifests, restarts, crashes and faults of the disk.

mod crash;
mod disk;
mod fleet;
mod windows;

use std::sync::Arc;
use std::time::Instant;

use config::{AgentName, DeviceId, Limit};

use self::disk::Disk;
use super::desk::Pickup;
use super::store::Store;
use super::{BudgetSubject, Budgets, Meter, Reserved, Scope};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A device, an agent and a manifest, with the limits a test gives it.
#[derive(Debug, Clone)]
struct Granted {
    device: DeviceId,
    agent: AgentName,
    issued_at: i64,
    expires_at: i64,
    manifest: Limit,
    rule: Option<(&'static str, Limit)>,
    session: Limit,
}

impl Granted {
    fn bytes(manifest: u64) -> Self {
        Self {
            device: DeviceId::new("device-123").unwrap(),
            agent: AgentName::new("cowork-v1.0").unwrap(),
            issued_at: 1000,
            expires_at: 4600,
            manifest: Limit::Bytes(manifest),
            rule: None,
            session: Limit::Unlimited,
        }
    }

    fn subject(&self) -> BudgetSubject<'_> {
        BudgetSubject {
            device: &self.device,
            agent: &self.agent,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            manifest_limit: self.manifest,
            rule: self.rule,
            session_limit: self.session,
        }
    }

    fn meter(&self, budgets: &Budgets) -> Meter {
        budgets.meter(&self.subject(), self.issued_at + 1).unwrap()
    }

    fn spent(&self, budgets: &Budgets) -> u64 {
        budgets.spent(&self.device, &self.agent).unwrap().map_or(0, |spending| spending.bytes)
    }
}

/// Budgets without the writing thread: a test takes its turns itself.
fn by_hand(disk: &Disk) -> Budgets {
    Budgets::without_writer(Store::over(disk.opener()).unwrap(), None, 1001).unwrap()
}

/// What the writing thread does when somebody asks.
fn turn(budgets: &Budgets) {
    if let Pickup::Requests(cells) = budgets.ledger.desk.pick_up(Instant::now()) {
        budgets.ledger.extend_leases(&cells);
    }
}

/// What it does once a second.
fn round(budgets: &Budgets) {
    budgets.ledger.round(&mut i64::MAX.clone());
}

/// Sends up to `bytes`, taking turns for leases; returns what was sent and why it stopped.
fn send(budgets: &Budgets, meter: &Meter, bytes: u64) -> (u64, Option<Scope>) {
    let mut sent = 0;
    while sent < bytes {
        match meter.reserve(usize::try_from(bytes - sent).unwrap()) {
            Reserved::Granted(granted) => {
                meter.settle(granted, granted);
                sent += granted as u64;
            }
            Reserved::NeedsLease => turn(budgets),
            Reserved::Spent(scope) => return (sent, Some(scope)),
            Reserved::Busy => panic!("nobody else is writing"),
        }
    }
    (sent, None)
}

/// Sends until the limit, as a session does: in pieces, writing less than granted, waiting for leases.
async fn send_until_spent(meter: &Meter, piece: usize) -> u64 {
    loop {
        match meter.reserve(piece) {
            Reserved::Granted(granted) => meter.settle(granted, granted.div_ceil(2)),
            Reserved::NeedsLease => meter.lease_extended().await.unwrap(),
            Reserved::Busy => tokio::task::yield_now().await,
            Reserved::Spent(_) => return meter.uploaded(),
        }
    }
}

#[test]
fn the_tightest_scope_ends_the_session() {
    for (session, rule, manifest, sent, scope) in [
        (10, 20, 30, 10, Scope::Session),
        (20, 10, 30, 10, Scope::Rule),
        (30, 20, 10, 10, Scope::Manifest),
        (0, 20, 30, 0, Scope::Session),
        (30, 0, 30, 0, Scope::Rule),
        (30, 20, 0, 0, Scope::Manifest),
    ] {
        let disk = Disk::default();
        let budgets = by_hand(&disk);
        let granted = Granted {
            session: Limit::Bytes(session),
            rule: Some(("uploads.example.com:443", Limit::Bytes(rule))),
            ..Granted::bytes(manifest)
        };
        let meter = granted.meter(&budgets);
        assert_eq!(send(&budgets, &meter, 1000), (sent, Some(scope)));
        assert_eq!(meter.uploaded(), sent);
        assert_eq!((meter.left(), meter.spent()), (Some(0), Some(scope)));
        assert_eq!(meter.affords(1), Err(scope));
    }
}

#[test]
fn a_scope_that_grants_less_gives_the_rest_back_to_the_others() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let granted = Granted { session: Limit::Bytes(100), ..Granted::bytes(60) };
    let (first, second) = (granted.meter(&budgets), granted.meter(&budgets));
    assert_eq!(send(&budgets, &first, 100), (60, Some(Scope::Manifest)));
    assert_eq!(first.reserve(1), Reserved::Spent(Scope::Manifest), "the session still has 40 of its own");
    assert_eq!(second.uploaded(), 0);
}

#[test]
fn what_another_session_is_writing_is_neither_granted_nor_lost() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let granted = Granted::bytes(10);
    let (first, second) = (granted.meter(&budgets), granted.meter(&budgets));
    turn(&budgets);
    assert_eq!(first.reserve(10), Reserved::Granted(10));
    assert_eq!(second.reserve(10), Reserved::Busy);
    first.settle(10, 4);
    assert_eq!(second.reserve(10), Reserved::Granted(6));
    drop(second);
    assert_eq!(first.reserve(10), Reserved::Granted(6), "a session that vanished mid-write gives back");
    first.settle(6, 6);
    assert_eq!(first.reserve(10), Reserved::Spent(Scope::Manifest));
}

#[test]
fn a_declared_upload_is_measured_against_what_is_left() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let meter = Granted::bytes(MIB).meter(&budgets);
    send(&budgets, &meter, MIB - 10);
    assert_eq!(meter.affords(10), Ok(()));
    assert_eq!(meter.affords(11), Err(Scope::Manifest));
    assert_eq!(meter.affords(u64::MAX), Err(Scope::Manifest));
}

#[test]
fn rules_have_budgets_of_their_own_by_pattern() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let to = |pattern| Granted { rule: Some((pattern, Limit::Bytes(10))), ..Granted::bytes(15) };
    assert_eq!(send(&budgets, &to("a.example:443").meter(&budgets), 99), (10, Some(Scope::Rule)));
    assert_eq!(send(&budgets, &to("a.example:443").meter(&budgets), 99), (0, Some(Scope::Rule)));
    assert_eq!(send(&budgets, &to("b.example:443").meter(&budgets), 99), (5, Some(Scope::Manifest)));
    let spending = budgets.spent(&to("").device, &to("").agent).unwrap().unwrap();
    let mut rules = spending.rules;
    rules.sort();
    assert_eq!(spending.bytes, 15);
    assert_eq!(rules, [("a.example:443".into(), 10), ("b.example:443".into(), 5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_sessions_send_the_limit_between_them_and_not_a_byte_more() {
    const LIMIT: u64 = 5 * MIB + 4321;
    let budgets = Budgets::in_memory(1001).unwrap();
    let granted = Granted { rule: Some(("a.example:443", Limit::Unlimited)), ..Granted::bytes(LIMIT) };
    let sessions: Vec<_> = (0..64)
        .map(|index| {
            let meter = granted.meter(&budgets);
            tokio::spawn(async move { send_until_spent(&meter, 1 + index * 37).await })
        })
        .collect();
    let mut sent = 0;
    for session in sessions {
        sent += session.await.unwrap();
    }
    assert_eq!(sent, LIMIT);
    let spending = budgets.spent(&granted.device, &granted.agent).unwrap().unwrap();
    assert_eq!((spending.bytes, spending.rules), (LIMIT, vec![("a.example:443".into(), LIMIT)]));
}

#[tokio::test]
async fn a_session_waits_for_its_lease_and_is_woken() {
    let disk = Disk::default();
    let budgets = Arc::new(by_hand(&disk));
    let meter = Arc::new(Granted::bytes(10 * MIB).meter(&budgets));
    assert_eq!(meter.reserve(5), Reserved::NeedsLease);
    let waiting = tokio::spawn({
        let meter = Arc::clone(&meter);
        async move { meter.lease_extended().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    turn(&budgets);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(meter.reserve(5), Reserved::Granted(5));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_ends_sessions_and_recovers_by_itself() {
    let disk = Disk::default();
    let budgets = Arc::new(by_hand(&disk));
    let meter = Granted::bytes(10 * MIB).meter(&budgets);
    turn(&budgets);
    disk.fail(true);
    let lease = 10 * MIB / 16;
    let sent = send_while_leased(&meter);
    assert_eq!(sent, lease, "what is leased may still be sent, and nothing beyond it");
    let (waited, ()) = tokio::join!(meter.lease_extended(), async { turn(&budgets) });
    assert!(waited.is_err());
    assert!(!budgets.healthy());
    assert_eq!(meter.reserve(5), Reserved::NeedsLease);

    disk.fail(false);
    let (waited, ()) = tokio::join!(meter.lease_extended(), async { turn(&budgets) });
    assert_eq!(waited, Ok(()));
    assert!(budgets.healthy());
    assert_eq!(meter.reserve(5), Reserved::Granted(5));
    assert_eq!(budgets.figures().faults, 1);
}

fn send_while_leased(meter: &Meter) -> u64 {
    while let Reserved::Granted(granted) = meter.reserve(1 << 14) {
        meter.settle(granted, granted);
    }
    meter.uploaded()
}

#[test]
fn an_idle_ledger_notices_by_itself_that_the_disk_is_back() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let _meter = Granted::bytes(MIB).meter(&budgets);
    disk.fail(true);
    turn(&budgets);
    assert!(!budgets.healthy());
    round(&budgets);
    assert!(!budgets.healthy());
    disk.fail(false);
    round(&budgets);
    assert!(budgets.healthy());
}

#[tokio::test]
async fn closed_budgets_grant_nothing_more() {
    let budgets = Budgets::in_memory(1001).unwrap();
    let granted = Granted::bytes(MIB);
    let meter = granted.meter(&budgets);
    meter.lease_extended().await.unwrap();
    let Reserved::Granted(10) = meter.reserve(10) else { panic!("leased") };
    meter.settle(10, 10);
    budgets.close().unwrap();
    assert_eq!(meter.reserve(10), Reserved::NeedsLease);
    assert!(meter.lease_extended().await.is_err());
}

#[test]
fn budgets_that_nobody_uses_give_their_leases_back_and_leave_memory() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let granted = Granted { rule: Some(("a.example:443", Limit::Unlimited)), ..Granted::bytes(10 * MIB) };
    let meter = granted.meter(&budgets);
    send(&budgets, &meter, 100);
    round(&budgets);
    round(&budgets);
    round(&budgets);
    assert_eq!(budgets.figures().books, 1, "a session holds it");
    drop(meter);
    turn(&budgets);
    for _ in 0..3 {
        round(&budgets);
    }
    assert_eq!(budgets.figures().books, 0);
    assert_eq!(granted.spent(&budgets), 100, "read from the file: not a byte of the lease is lost");
    let (sent, why) = send(&budgets, &granted.meter(&budgets), u64::MAX);
    assert_eq!((sent, why), (10 * MIB - 100, Some(Scope::Manifest)));
}

#[test]
fn a_session_that_opens_while_leases_go_back_is_not_overdrawn() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let granted = Granted::bytes(MIB);
    send(&budgets, &granted.meter(&budgets), 100);
    turn(&budgets);
    round(&budgets);
    round(&budgets);
    let meter = granted.meter(&budgets);
    assert_eq!(meter.reserve(1), Reserved::NeedsLease, "the lease was ended");
    assert_eq!(send(&budgets, &meter, u64::MAX).0, MIB - 100);
}

#[test]
fn a_file_serves_one_process_and_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets.redb");
    let granted = Granted::bytes(10 * MIB);
    let budgets = Budgets::open(&path, 1001).unwrap();
    assert!(Budgets::open(&path, 1001).is_err(), "a second process would spend the same budget again");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let meter = granted.meter(&budgets);
    tokio_block(meter.lease_extended()).unwrap();
    let Reserved::Granted(77) = meter.reserve(77) else { panic!("leased") };
    meter.settle(77, 77);
    drop(meter);
    drop(budgets);
    assert_eq!(granted.spent(&Budgets::open(&path, 1001).unwrap()), 77, "a clean shutdown loses nothing");
}

#[test]
fn a_damaged_file_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budgets.redb");
    std::fs::write(&path, vec![0x5a; 64 * usize::try_from(KIB).unwrap()]).unwrap();
    assert!(Budgets::open(&path, 1001).is_err());
}

fn tokio_block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
