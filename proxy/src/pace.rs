//! How do handshakes leave room for tunnels? Their dear steps pass a narrow gate, and behind it everybody else goes first.
//!
//! A handshake is a few short waits with a tenth of a millisecond of signatures after each. When hundreds are ready at once,
//! a scheduler that takes them in order lets a tunnel's bytes wait for all of them. Here a step needs one of a few
//! permits, and gives it back only after the scheduler has looked for whatever else is ready; the others wait for
//! permits and not in the scheduler's queue. Nothing is refused and nothing gets slower in sum.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Steps between two looks at what else is ready, for each worker.
const STEPS: usize = 4;

/// The gate.
#[derive(Debug)]
pub struct Pace(Semaphore);

impl Pace {
    /// A gate for so many workers.
    #[must_use]
    pub fn of(workers: usize) -> Self {
        Self(Semaphore::new(workers.saturating_mul(STEPS).clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Does `work`, each of its steps with a permit. A step is what it does when it is polled.
    pub async fn keep<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let wakes = Arc::new(Wakes { woken: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&wakes));
        loop {
            poll_fn(|cx| wakes.poll_woken(cx)).await;
            // The gate is never closed. Were it, the work would be done without.
            let permit = self.0.acquire().await.ok();
            let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
            yield_now().await;
            drop(permit);
            if let Poll::Ready(output) = polled {
                return output;
            }
        }
    }
}

/// Remembers that the work was woken, so that waiting for a permit is not taken for it.
struct Wakes {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wakes {
    fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        self.task.register(cx.waker());
        if !self.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        // Until it is asked again, a wake is only noted: it must not cut the look at what else is ready short.
        let _quiet = self.task.take();
        Poll::Ready(())
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Work of so many steps that is always ready for the next one.
    async fn steps(count: usize, taken: Arc<AtomicUsize>) {
        for _ in 0..count {
            taken.fetch_add(1, Ordering::SeqCst);
            let mut paused = false;
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_crowd_of_handshakes_takes_a_few_steps_between_two_turns_of_a_tunnel() {
        let (pace, taken) = (Arc::new(Pace::of(1)), Arc::new(AtomicUsize::new(0)));
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let (pace, taken) = (Arc::clone(&pace), Arc::clone(&taken));
                tokio::spawn(async move { pace.keep(steps(5, taken)).await })
            })
            .collect();
        let (mut most, mut before) = (0, 0);
        while crowd.iter().any(|task| !task.is_finished()) {
            yield_now().await;
            let now = taken.load(Ordering::SeqCst);
            most = most.max(now - before);
            before = now;
        }
        assert_eq!(taken.load(Ordering::SeqCst), 500);
        assert!(most <= 2 * STEPS, "{most} steps between two turns");
    }

    #[tokio::test]
    async fn work_that_waits_holds_no_permit() {
        let pace = Pace::of(1);
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = pace.keep(told);
        let busy = async {
            for _ in 0..10 * STEPS {
                pace.keep(yield_now()).await;
            }
            assert_eq!(pace.0.available_permits(), STEPS);
            tell.send(()).expect("somebody listens");
        };
        let (waited, ()) = tokio::join!(waiting, busy);
        assert_eq!(waited, Ok(()));
    }
}
