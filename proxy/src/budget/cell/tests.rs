//! A cell alone, under every split, and under many threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use config::Limit;
use proptest::prelude::*;

use super::{Cell, Grant, LEAST_LEASE, LONGEST_LEASE, USUAL_LEASE, lease_size};

#[test]
fn a_reservation_is_cut_to_what_is_left() {
    let cell = Cell::fleeting(Limit::Bytes(10));
    assert_eq!(cell.reserve(4), Grant::Granted(4));
    assert_eq!(cell.reserve(100), Grant::Granted(6));
    assert_eq!(cell.reserve(1), Grant::Busy, "what is reserved may still come back");
    cell.settle(6, 6);
    assert_eq!(cell.reserve(1), Grant::Busy);
    cell.settle(4, 1);
    assert_eq!(cell.reserve(100), Grant::Granted(3));
    cell.settle(3, 3);
    assert_eq!(cell.reserve(1), Grant::Spent);
    assert_eq!((cell.committed(), cell.left(), cell.is_spent()), (10, Some(0), true));
}

#[test]
fn the_smallest_and_the_largest_limits_mean_what_they_say() {
    for (limit, want, expected) in [
        (Limit::Bytes(0), 1, Grant::Spent),
        (Limit::Bytes(1), 5, Grant::Granted(1)),
        (Limit::Bytes(u64::MAX), 5, Grant::Granted(5)),
        (Limit::Unlimited, 5, Grant::Granted(5)),
    ] {
        assert_eq!(Cell::fleeting(limit).reserve(want), expected, "{limit:?}");
    }
}

#[test]
fn more_than_was_granted_is_never_settled() {
    let cell = Cell::fleeting(Limit::Bytes(10));
    assert_eq!(cell.reserve(4), Grant::Granted(4));
    cell.settle(4, 400);
    assert_eq!((cell.committed(), cell.taken()), (4, 4));
}

#[test]
fn a_new_limit_applies_to_what_is_already_spent() {
    let cell = Cell::fleeting(Limit::Bytes(10));
    cell.reserve(8);
    cell.settle(8, 8);
    for (limit, expected) in [
        (Limit::Bytes(9), Grant::Granted(1)),
        (Limit::Bytes(8), Grant::Spent),
        (Limit::Bytes(3), Grant::Spent),
        (Limit::Bytes(20), Grant::Granted(2)),
        (Limit::Unlimited, Grant::Granted(2)),
        (Limit::Bytes(8), Grant::Spent),
    ] {
        cell.set_limit(limit, 0);
        let grant = cell.reserve(2);
        assert_eq!(grant, expected, "{limit:?}");
        if let Grant::Granted(bytes) = grant {
            cell.settle(bytes, 0);
        }
    }
}

#[test]
fn a_durable_cell_grants_up_to_its_lease() {
    let cell = Cell::durable(Limit::Bytes(1000), 100);
    assert_eq!(cell.reserve(1), Grant::Unleased);
    assert!(cell.runs_low() && !cell.has_room());
    cell.extend_lease(150);
    assert_eq!(cell.reserve(100), Grant::Granted(50));
    assert_eq!(cell.reserve(1), Grant::Unleased);
    cell.settle(50, 20);
    cell.extend_lease(120);
    assert_eq!(cell.reserve(100), Grant::Granted(30), "a lease never shrinks by being extended");
}

#[test]
fn a_sealed_cell_grants_nothing_more() {
    for limit in [Limit::Bytes(1000), Limit::Bytes(u64::MAX)] {
        let cell = Cell::durable(limit, 0);
        cell.extend_lease(500);
        assert_eq!(cell.reserve(7), Grant::Granted(7));
        assert_eq!(cell.seal(), 7);
        assert_eq!(cell.reserve(1), Grant::Unleased);
    }
}

#[test]
fn a_lease_is_a_share_of_the_limit_within_bounds() {
    for (limit, taken, size) in [
        (0, 0, LEAST_LEASE),
        (10 << 20, 5 << 20, (10 << 20) / 16),
        (250 << 20, 249 << 20, USUAL_LEASE),
        (1 << 40, 1 << 39, 1 << 30),
        (u64::MAX, 64 << 20, USUAL_LEASE),
        (u64::MAX, 1 << 32, 1 << 29),
        (u64::MAX, 1 << 40, LONGEST_LEASE),
    ] {
        assert_eq!(lease_size(limit, taken), size, "{limit}, {taken}");
    }
    assert_eq!(Cell::durable(Limit::Bytes(500), 100).next_lease(), 500, "never beyond the limit");
    assert_eq!(Cell::durable(Limit::Bytes(50), 100).next_lease(), 100, "never below what is taken");
}

#[test]
fn many_threads_share_one_cell_exactly() {
    const LIMIT: u64 = 3_000_017;
    let cell = Cell::fleeting(Limit::Bytes(LIMIT));
    let sent = AtomicU64::new(0);
    let start = Barrier::new(64);
    thread::scope(|scope| {
        for seed in 1..=64 {
            let (cell, sent, start) = (&cell, &sent, &start);
            scope.spawn(move || {
                start.wait();
                sent.fetch_add(send_until_spent(cell, seed), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(sent.into_inner(), LIMIT);
    assert_eq!((cell.committed(), cell.taken()), (LIMIT, LIMIT));
}

/// Reserves and writes odd amounts, often less than was granted, until the cell is spent.
fn send_until_spent(cell: &Cell, seed: u64) -> u64 {
    let mut random = seed;
    let mut sent = 0;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match cell.reserve(1 + (random >> 33) % 5000) {
            Grant::Granted(granted) => {
                let written = (random >> 20) % (granted + 1);
                cell.settle(granted, written);
                sent += written;
            }
            Grant::Busy => thread::yield_now(),
            Grant::Spent => return sent,
            Grant::Unleased => panic!("a fleeting cell needs no lease"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u64),
    Settle(u64),
    Limit(u64),
    Extend(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5000_u64).prop_map(Step::Reserve),
        4 => (0..5000_u64).prop_map(Step::Settle),
        1 => (0..20_000_u64).prop_map(Step::Limit),
        1 => (0..20_000_u64).prop_map(Step::Extend),
    ]
}

proptest! {
    #[test]
    fn no_order_of_steps_overspends(spent in 0..3000_u64, steps in prop::collection::vec(step(), 1..200)) {
        let cell = Cell::durable(Limit::Bytes(10_000), spent);
        let (mut limit, mut leased, mut committed) = (10_000, spent, spent);
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Reserve(want) => if let Grant::Granted(granted) = cell.reserve(want) {
                    prop_assert!(granted >= 1 && granted <= want);
                    prop_assert!(cell.taken() <= limit.min(leased));
                    under_way.push(granted);
                },
                Step::Settle(written) => if let Some(granted) = under_way.pop() {
                    cell.settle(granted, written);
                    committed += written.min(granted);
                },
                Step::Limit(bytes) => { limit = bytes; cell.set_limit(Limit::Bytes(bytes), 0); }
                Step::Extend(until) => { leased = leased.max(until); cell.extend_lease(until); }
            }
            prop_assert_eq!(cell.committed(), committed);
            prop_assert_eq!(cell.taken(), committed + under_way.iter().sum::<u64>());
        }
    }

    #[test]
    fn any_split_of_an_upload_sends_exactly_the_limit(
        limit in 0..200_000_u64,
        pieces in prop::collection::vec((1..65_537_u64, 0..65_537_u64), 1..50),
    ) {
        let cell = Cell::fleeting(Limit::Bytes(limit));
        let mut sent = 0;
        for (want, written) in pieces.iter().cycle().take(100_000) {
            match cell.reserve(*want) {
                Grant::Granted(granted) => {
                    let written = (*written).min(granted).max(1);
                    cell.settle(granted, written);
                    sent += written;
                }
                refused => {
                    prop_assert_eq!(refused, Grant::Spent);
                    break;
                }
            }
        }
        prop_assert!(sent == limit || !cell.is_spent());
        prop_assert!(sent <= limit);
    }
}
