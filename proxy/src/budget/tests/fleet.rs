//! Budgets that several gateways share: what they send together, whatever happens to them and to the control plane.

mod world;

use std::sync::Arc;

use config::{Limit, Reason};

use self::world::{ControlPlane, Gateway, LIMIT, live, policy};
use super::{Granted, MIB, Reserved, tokio_block};
use crate::budget::{LeaseFault, Meter};

fn granted() -> Granted {
    Granted { issued_at: live(), expires_at: live() + 3600, ..Granted::bytes(LIMIT) }
}

/// Sends until nothing more is granted, as sessions do; says how much that was, and why it ended.
async fn pour(meter: &Meter, piece: usize) -> (u64, Reason) {
    loop {
        match meter.reserve(piece) {
            Reserved::Granted(bytes) => meter.settle(bytes, bytes.div_ceil(2)),
            Reserved::NeedsLease => {
                if let Err(fault) = meter.lease_extended().await {
                    return (meter.uploaded(), fault.reason());
                }
            }
            Reserved::Busy => tokio::task::yield_now().await,
            Reserved::Spent(scope) => return (meter.uploaded(), scope.reason()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_gateways_send_the_limit_between_them_and_not_a_byte_more() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateways: Vec<_> = (0..3).map(|number| Arc::new(plane.gateway(&format!("gw-{number}")))).collect();
    let mut sessions = Vec::new();
    for gateway in &gateways {
        for piece in [500, 7_000, 64_000, 200_000] {
            let meter = granted().meter_now(gateway);
            sessions.push(tokio::spawn(async move { pour(&meter, piece).await }));
        }
    }
    let mut sent = 0;
    for session in sessions {
        let (bytes, reason) = session.await.unwrap();
        assert_eq!(reason, Reason::UploadLimitExceeded);
        sent += bytes;
    }
    assert_eq!(sent, LIMIT);
    for gateway in &gateways {
        let late = granted().meter_now(gateway);
        assert_eq!(late.opened(None).await, Err(LeaseFault::Spent));
        assert_eq!(LeaseFault::Spent.refusal(), Reason::UploadBudgetSpent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_stops_gives_back_what_nobody_spent() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let (first, second) = (plane.gateway("gw-1"), plane.gateway("gw-2"));
    let meter = granted().meter_now(&first);
    meter.opened(None).await.unwrap();
    meter.lease_extended().await.unwrap();
    let Reserved::Granted(1000) = meter.reserve(1000) else { panic!("held") };
    meter.settle(1000, 1000);
    tokio::task::spawn_blocking(move || first.budgets.close().unwrap()).await.unwrap();
    let (sent, reason) = pour(&granted().meter_now(&second), 100_000).await;
    assert_eq!((sent, reason), (LIMIT - 1000, Reason::UploadLimitExceeded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_control_plane_a_gateway_spends_what_it_holds_and_says_so() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateway = plane.gateway("gw-1");
    let meter = granted().meter_now(&gateway);
    meter.opened(None).await.unwrap();
    plane.go(false);
    let held = plane.handed_out();
    let (sent, reason) = pour(&meter, 1000).await;
    assert!(held < LIMIT / 10, "{held}");
    assert_eq!((sent, reason), (plane.handed_out(), Reason::BudgetUnavailable));
    let refused = granted().meter_now(&gateway).opened(None).await;
    assert_eq!(refused.map_err(LeaseFault::refusal), Err(Reason::BudgetUnavailable));
    plane.go(true);
    while granted().meter_now(&gateway).opened(None).await.is_err() {
        tokio::task::yield_now().await;
    }
    let (rest, reason) = pour(&granted().meter_now(&gateway), 100_000).await;
    assert_eq!((sent + rest, reason), (LIMIT, Reason::UploadLimitExceeded));
}

#[test]
fn nothing_is_spent_before_anybody_hands_out_anything() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateway = Gateway::by_hand(&plane, "gw-1");
    let meter = granted().meter_now(&gateway);
    plane.go(false);
    gateway.turns();
    assert_eq!(meter.reserve(1), Reserved::NeedsLease);
    plane.go(true);
    gateway.pours(&meter, 1);
    assert_eq!(meter.uploaded(), 1);
}

#[test]
fn an_unlimited_budget_is_not_asked_for() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateway = Gateway::by_hand(&plane, "gw-1");
    let free =
        Granted { manifest: Limit::Unlimited, rule: Some(("a.example:443", Limit::Unlimited)), ..granted() };
    let meter = free.meter_now(&gateway);
    tokio_block(meter.opened(Some(u64::MAX))).unwrap();
    assert_eq!(gateway.pours(&meter, 50 * MIB), 50 * MIB);
    assert_eq!(plane.requests(), 0);
}

#[test]
fn a_session_that_rests_gives_back_what_it_holds_and_goes_on_later() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let (first, second) = (Gateway::by_hand(&plane, "gw-1"), Gateway::by_hand(&plane, "gw-2"));
    let (resting, busy) = (granted().meter_now(&first), granted().meter_now(&second));
    assert_eq!(first.pours(&resting, 100_000), 100_000);
    for _ in 0..6 {
        first.round();
    }
    assert_eq!(plane.handed_out(), 100_000, "what was spent, and nothing else");
    assert_eq!(first.spent(&granted()), 100_000);
    assert_eq!(second.pours(&busy, LIMIT - 150_000), LIMIT - 150_000);
    assert_eq!(first.pours(&resting, u64::MAX) + second.pours(&busy, u64::MAX), 50_000);
    assert_eq!(resting.uploaded() + busy.uploaded(), LIMIT);
    assert_eq!(first.spent(&granted()) + second.spent(&granted()), LIMIT);
}

#[test]
fn a_quiet_book_gives_everything_back_and_is_forgotten() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateway = Gateway::by_hand(&plane, "gw-1");
    for _ in 0..5 {
        let meter = granted().meter_now(&gateway);
        assert_eq!(gateway.pours(&meter, 1000), 1000);
        drop(meter);
        for _ in 0..6 {
            gateway.round();
        }
        assert_eq!(gateway.budgets.figures().books, 0);
    }
    assert_eq!(plane.handed_out(), 5000);
    assert_eq!(gateway.spent(&granted()), 5000);
}

#[test]
fn a_crash_loses_what_was_held_and_nothing_else() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let mut first = Gateway::by_hand(&plane, "gw-1");
    let meter = granted().meter_now(&first);
    assert_eq!(first.pours(&meter, MIB), MIB);
    let held = plane.handed_out() - MIB;
    drop(meter);
    first.crash();
    let again = first.pours(&granted().meter_now(&first), u64::MAX);
    let second = Gateway::by_hand(&plane, "gw-2");
    let rest = second.pours(&granted().meter_now(&second), u64::MAX);
    assert_eq!(MIB + again + rest + held, LIMIT);
}

#[test]
fn the_file_prevents_a_refill_when_the_control_plane_forgets_everything() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let mut gateway = Gateway::by_hand(&plane, "gw-1");
    assert_eq!(gateway.pours(&granted().meter_now(&gateway), u64::MAX), LIMIT);
    gateway.move_to(&ControlPlane::new(policy(LIMIT, live())));
    assert_eq!(gateway.pours(&granted().meter_now(&gateway), u64::MAX), 0);
    gateway.crash();
    assert_eq!(gateway.pours(&granted().meter_now(&gateway), u64::MAX), 0);
}

#[test]
fn the_control_planes_limit_holds_whatever_the_gateway_goes_by() {
    let plane = ControlPlane::new(policy(300_000, live()));
    let gateway = Gateway::by_hand(&plane, "gw-1");
    assert_eq!(gateway.pours(&granted().meter_now(&gateway), u64::MAX), 300_000);
}

#[test]
fn a_lowered_limit_takes_back_what_is_held_everywhere() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateways = [Gateway::by_hand(&plane, "gw-1"), Gateway::by_hand(&plane, "gw-2")];
    let meters: Vec<_> = gateways.iter().map(|gateway| granted().meter_now(gateway)).collect();
    for (gateway, meter) in gateways.iter().zip(&meters) {
        assert_eq!(gateway.pours(meter, 400_000), 400_000);
    }
    assert!(plane.handed_out() > 900_000, "more is handed out than the lowered limit lets be spent");
    let lowered = Granted { manifest: Limit::Bytes(900_000), issued_at: live() + 1, ..granted() };
    plane.decide(policy(900_000, live() + 1));
    for gateway in &gateways {
        gateway.budgets.regrant(&lowered.subject(), live() + 1).unwrap();
        gateway.turns();
    }
    assert_eq!(plane.handed_out(), 800_000);
    let more: u64 = gateways.iter().zip(&meters).map(|(gateway, meter)| gateway.pours(meter, u64::MAX)).sum();
    assert_eq!(more, 100_000);
}

#[test]
fn a_raised_limit_adds_the_difference() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let gateway = Gateway::by_hand(&plane, "gw-1");
    let meter = granted().meter_now(&gateway);
    assert_eq!(gateway.pours(&meter, u64::MAX), LIMIT);
    let raised = Granted { manifest: Limit::Bytes(LIMIT + 77), issued_at: live() + 1, ..granted() };
    gateway.budgets.regrant(&raised.subject(), live() + 1).unwrap();
    assert_eq!(gateway.pours(&meter, u64::MAX), 0, "the control plane is behind: it is waited for");
    plane.decide(policy(LIMIT + 77, live() + 1));
    assert_eq!(gateway.pours(&meter, u64::MAX), 77);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_upload_is_measured_against_what_the_fleet_has_left() {
    let plane = ControlPlane::new(policy(LIMIT, live()));
    let (first, second) = (plane.gateway("gw-1"), plane.gateway("gw-2"));
    let meter = granted().meter_now(&first);
    while meter.uploaded() < LIMIT - 1000 {
        let left = usize::try_from(LIMIT - 1000 - meter.uploaded()).unwrap();
        match meter.reserve(left) {
            Reserved::Granted(bytes) => meter.settle(bytes, bytes),
            _ => meter.lease_extended().await.unwrap(),
        }
    }
    let second = granted().meter_now(&second);
    assert_eq!(second.affords(1001), Ok(()), "alone it would not know");
    assert_eq!(second.opened(Some(1001)).await, Err(LeaseFault::Spent));
    assert!(second.opened(Some(1000)).await.is_ok() || plane.handed_out() == LIMIT);
}

#[test]
fn rules_are_handed_out_by_themselves() {
    let plane = ControlPlane::new(world::policy_with_rule(LIMIT, 70_000, live()));
    let gateways = [Gateway::by_hand(&plane, "gw-1"), Gateway::by_hand(&plane, "gw-2")];
    let ruled = Granted { rule: Some(("a.example.com:443", Limit::Bytes(70_000))), ..granted() };
    let meters: Vec<_> = gateways.iter().map(|gateway| ruled.meter_now(gateway)).collect();
    assert_eq!(gateways[0].pours(&meters[0], 1_000), 1_000);
    let mut sent = 0;
    for (gateway, meter) in gateways.iter().zip(&meters) {
        sent += gateway.pours(meter, u64::MAX);
    }
    assert_eq!(sent, 69_000);
    assert!(plane.handed_out() >= 70_000, "the manifest's budget is counted as well");
}
