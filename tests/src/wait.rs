//! Waiting for a state, with a bound: the only place in the suites where time passes on purpose.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The future's value.
///
/// # Panics
/// When it is not there after [`PATIENCE`].
pub async fn promptly<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// The future's value.
///
/// # Panics
/// When it is not there within `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain: {what}"),
    }
}

/// What `condition` yields, once it yields something; it is asked again and again, every few milliseconds.
///
/// # Panics
/// When it has yielded nothing within `limit`.
pub async fn eventually<T>(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Panics when `condition` yields something before `span` is over: for what must not happen.
///
/// # Panics
/// When it happens.
pub async fn never_for<T: std::fmt::Debug>(
    span: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if let Some(value) = condition().await {
            panic!("it happened after {:?}: {what}: {value:?}", begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
