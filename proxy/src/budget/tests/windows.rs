//! What opens a window, and what does not refill it.

use config::Limit;

use super::{Granted, MIB, by_hand, round, send, turn};
use crate::budget::tests::disk::Disk;
use crate::budget::{BudgetFault, Budgets, Scope};

fn sent_at(budgets: &Budgets, granted: &Granted, now: i64) -> u64 {
    let meter = budgets.meter(&granted.subject(), now).unwrap();
    send(budgets, &meter, u64::MAX >> 1).0
}

#[test]
fn neither_a_new_connection_nor_a_pushed_renamed_or_superseding_manifest_refills() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(MIB);
    assert_eq!(sent_at(&budgets, &first, 1001), MIB);
    assert_eq!(sent_at(&budgets, &first, 1002), 0, "a new connection");
    let again = Granted { issued_at: 2000, expires_at: 5600, ..first.clone() };
    assert_eq!(sent_at(&budgets, &again, 2001), 0, "signed again, under whatever name");
    let raised = Granted { manifest: Limit::Bytes(MIB + 5), issued_at: 2002, ..again.clone() };
    assert_eq!(sent_at(&budgets, &raised, 2003), 5, "a raised limit adds the difference");
    let lowered = Granted { manifest: Limit::Bytes(10), issued_at: 2004, ..again };
    assert_eq!(sent_at(&budgets, &lowered, 2005), 0);
}

#[test]
fn the_end_of_the_window_refills() {
    let disk = Disk::default();
    let budgets =
        Budgets::without_writer(crate::budget::Store::over(disk.opener()).unwrap(), None, 4599).unwrap();
    let first = Granted::bytes(MIB);
    let second = Granted { issued_at: 4000, expires_at: 7600, ..Granted::bytes(MIB) };
    assert_eq!(sent_at(&budgets, &first, 4599), MIB);
    assert_eq!(sent_at(&budgets, &second, 4599), 0);
    let third = Granted { issued_at: 4600, expires_at: 8200, ..Granted::bytes(MIB) };
    assert_eq!(sent_at(&budgets, &third, 4600), MIB);
    assert_eq!(sent_at(&budgets, &third, 4601), 0);
}

#[test]
fn a_step_of_the_clock_refills_nothing() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(MIB);
    let second = Granted { issued_at: 2000, expires_at: 9999, ..Granted::bytes(MIB) };
    assert_eq!(sent_at(&budgets, &first, 1001), MIB);
    assert_eq!(sent_at(&budgets, &second, 5000), 0, "a step forward, past the end of the window");
    assert_eq!(sent_at(&budgets, &second, 1500), 0, "a step back");
    assert_eq!(sent_at(&budgets, &first, 10), 0, "a step to before it all");
}

#[test]
fn a_step_back_after_the_window_ended_does_not_reopen_it() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(MIB);
    let later = Granted { issued_at: 4700, expires_at: 8300, ..Granted::bytes(MIB) };
    assert_eq!(sent_at(&budgets, &first, 1001), MIB);
    assert_eq!(sent_at(&budgets, &later, 4701), MIB);
    assert_eq!(sent_at(&budgets, &first, 1002), 0, "it spends from the window that is open now");
}

#[test]
fn a_pruned_window_is_not_reopened() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(MIB);
    let other = Granted {
        device: "device-9".parse().unwrap(),
        issued_at: 5000,
        expires_at: 8000,
        ..Granted::bytes(MIB)
    };
    assert_eq!(sent_at(&budgets, &first, 1001), MIB);
    assert_eq!(sent_at(&budgets, &other, 5001), MIB, "its manifest proves that it is past 4600");
    for _ in 0..3 {
        turn(&budgets);
        round(&budgets);
    }
    budgets.ledger.round(&mut 0);
    assert_eq!(budgets.spent(&first.device, &first.agent).unwrap(), None, "its row is gone");
    assert!(budgets.spent(&other.device, &other.agent).unwrap().is_some());
    let reopened = budgets.meter(&first.subject(), 1002);
    assert!(matches!(reopened, Err(BudgetFault::WindowEnded)), "the clock was set back");
    drop(budgets);
    let restarted = by_hand(&disk);
    assert!(matches!(restarted.meter(&first.subject(), 1002), Err(BudgetFault::WindowEnded)));
}

#[test]
fn a_restart_remembers_every_scope() {
    let disk = Disk::default();
    let granted = Granted { rule: Some(("a.example:443", Limit::Bytes(100))), ..Granted::bytes(MIB) };
    let budgets = by_hand(&disk);
    assert_eq!(send(&budgets, &granted.meter(&budgets), 40), (40, None));
    budgets.ledger.desk.close();
    budgets.ledger.run().unwrap();
    let restarted = by_hand(&disk);
    assert_eq!(granted.spent(&restarted), 40);
    assert_eq!(send(&restarted, &granted.meter(&restarted), 999), (60, Some(Scope::Rule)));
}

#[test]
fn a_rule_that_comes_back_finds_what_it_had_spent() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let with = |pattern| Granted { rule: Some((pattern, Limit::Bytes(100))), ..Granted::bytes(MIB) };
    assert_eq!(sent_at(&budgets, &with("a.example:443"), 1001), 100);
    assert_eq!(sent_at(&budgets, &with("b.example:443"), 1002), 100);
    assert_eq!(sent_at(&budgets, &with("a.example:443"), 1003), 0);
}

#[test]
fn superseding_limits_apply_to_open_sessions_and_older_manifests_do_not_undo_them() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(1000);
    let meter = first.meter(&budgets);
    send(&budgets, &meter, 100);
    let narrowed = Granted { manifest: Limit::Bytes(150), issued_at: 1500, ..first.clone() };
    budgets.regrant(&narrowed.subject(), 1501).unwrap();
    assert_eq!(send(&budgets, &meter, 999), (50, Some(Scope::Manifest)));
    let late = first.meter(&budgets);
    assert_eq!(send(&budgets, &late, 999), (0, Some(Scope::Manifest)), "decided before, opened after");
}

#[test]
fn a_session_that_outlives_its_window_keeps_its_budget_and_obeys_new_limits() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let first = Granted::bytes(1000);
    let old = first.meter(&budgets);
    send(&budgets, &old, 100);
    let next = Granted { issued_at: 4600, expires_at: 8200, ..Granted::bytes(1000) };
    let new = budgets.meter(&next.subject(), 4601).unwrap();
    assert_eq!(send(&budgets, &new, 999_999), (1000, Some(Scope::Manifest)));
    assert_eq!(send(&budgets, &old, 50), (50, None));
    let narrowed = Granted { manifest: Limit::Bytes(0), issued_at: 4700, ..next };
    budgets.regrant(&narrowed.subject(), 4701).unwrap();
    assert_eq!(send(&budgets, &old, 50), (0, Some(Scope::Manifest)));
    drop((old, new));
    for _ in 0..4 {
        turn(&budgets);
        round(&budgets);
    }
    assert_eq!(budgets.figures().books, 0);
}

#[test]
fn what_was_sent_without_a_limit_counts_once_there_is_one() {
    let disk = Disk::default();
    let budgets = by_hand(&disk);
    let free = Granted { manifest: Limit::Unlimited, ..Granted::bytes(0) };
    assert_eq!(send(&budgets, &free.meter(&budgets), 500), (500, None));
    let limited = Granted { issued_at: 1500, ..Granted::bytes(600) };
    assert_eq!(sent_at(&budgets, &limited, 1501), 100);
}
