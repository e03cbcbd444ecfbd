//! Publishing: swap first, enforce before returning, one after the other, never backwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;
use crate::change::Touched;

fn feed() -> Arc<Feed> {
    Arc::new(Feed::new(PolicyBounds::default()))
}

fn revision(feed: &Feed, revision: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot { revision, ..(*feed.current()).clone() })
}

/// Notes what it is called with, and what the feed says meanwhile.
struct Witness {
    feed: Arc<Feed>,
    seen: Mutex<Vec<(u64, u64, Touched)>>,
}

impl Enforcer for Witness {
    fn enforce(&self, snapshot: &Arc<Snapshot>, change: &Change) -> Receipt {
        let current = self.feed.current().revision;
        assert!(Arc::ptr_eq(snapshot, &self.feed.current()));
        self.seen.lock().unwrap().push((current, change.revision, change.touched.clone()));
        Receipt { sessions_cut: 2, upload_bytes: 10, latency: Duration::from_millis(current) }
    }
}

#[test]
fn the_snapshot_is_current_before_anybody_enforces_it_and_enforced_when_publishing_returns() {
    let feed = feed();
    let witness = Arc::new(Witness { feed: feed.clone(), seen: Mutex::default() });
    feed.subscribe(witness.clone());
    feed.subscribe(witness.clone());
    let receipt = feed.publish(revision(&feed, 3)).unwrap();
    assert_eq!(receipt, Receipt { sessions_cut: 4, upload_bytes: 20, latency: Duration::from_millis(3) });
    let seen = witness.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|(current, change, _)| (*current, *change) == (3, 3)));
}

#[test]
fn a_revision_that_is_not_higher_is_refused_and_changes_nothing() {
    let feed = feed();
    feed.publish(revision(&feed, 3)).unwrap();
    for offered in [0, 2, 3] {
        assert_eq!(feed.publish(revision(&feed, offered)), Err(OutOfOrder { current: 3, offered }));
    }
    assert_eq!(feed.current().revision, 3);
}

#[test]
fn concurrent_publishers_take_turns_and_readers_never_see_a_step_back() {
    let feed = feed();
    let witness = Arc::new(Witness { feed: feed.clone(), seen: Mutex::default() });
    feed.subscribe(witness.clone());
    let (next, done) = (AtomicU64::new(1), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    // Refused when another one was faster: that is what keeps the order.
                    let _ = feed.publish(revision(&feed, next.fetch_add(1, Ordering::Relaxed)));
                }
                done.fetch_add(1, Ordering::Release);
            });
        }
        scope.spawn(|| {
            let mut last = 0;
            while done.load(Ordering::Acquire) < 4 {
                let current = feed.current().revision;
                assert!(current >= last);
                last = current;
            }
        });
    });
    let seen = witness.seen.lock().unwrap();
    assert!(seen.is_sorted_by(|(left, ..), (right, ..)| left < right));
    assert_eq!(feed.current().revision, 800);
}

#[test]
fn a_feed_that_was_never_fresh_has_no_age() {
    let feed = feed();
    assert_eq!(feed.age(), None);
    feed.set_age(Duration::from_secs(100));
    assert!(feed.age().unwrap() >= Duration::from_secs(100));
    feed.stamp_fresh();
    assert!(feed.age().unwrap() < Duration::from_secs(100));
}
