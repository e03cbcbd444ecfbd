//! When is the next thing due? Fixed moments, kept by a thread of its own: a runtime's timers are too coarse for microseconds.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::mpsc::Sender;

/// The most that is due in a second, over everybody.
const MOST: f64 = 200_000.0;

/// Moments at the same distance, dealt out in turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    interval: Duration,
    takers: u32,
}

impl Pace {
    /// `rate` moments a second for each of so many takers.
    ///
    /// # Errors
    /// When that is nothing, or more than can be kept.
    pub(crate) fn new(rate: f64, takers: u32) -> anyhow::Result<Self> {
        let all = rate * f64::from(takers);
        ensure!(rate > 0.0 && all <= MOST, "between nothing and {MOST} a second over all, not {all}");
        Ok(Self { interval: Duration::from_secs_f64(1.0 / all), takers })
    }

    /// How long so many moments for each taker take.
    pub(crate) fn length(&self, each: u32) -> Duration {
        self.interval * self.takers * each
    }

    /// Tells the takers their moments as they come, each so many, and returns. Late or not, the moment itself is told.
    pub(crate) fn run(&self, takers: &[Sender<Instant>], each: u32) {
        // Without it the system wakes this thread some 50 µs late. Where it refuses, that much is in the figures.
        let _refused = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut due = Instant::now();
        for _ in 0..each {
            for taker in takers {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // There is room for all; a taker that is gone has failed, and says so itself.
                let _gone = taker.try_send(due);
                due += self.interval;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn moments_are_dealt_out_at_the_same_distance() {
        let pace = Pace::new(1000.0, 2).unwrap();
        let (takers, mut given): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(3)).unzip();
        pace.run(&takers, 3);
        let mut told: Vec<Instant> = Vec::new();
        for _ in 0..3 {
            told.extend(given.iter_mut().filter_map(|given| given.try_recv().ok()));
        }
        let distances: Vec<Duration> =
            told.windows(2).filter_map(|pair| Some(*pair.last()? - *pair.first()?)).collect();
        assert_eq!(distances, [Duration::from_micros(500); 5]);
    }

    #[test]
    fn a_pace_that_cannot_be_kept_is_refused() {
        assert!(Pace::new(0.0, 1).is_err() && Pace::new(-1.0, 1).is_err());
        assert!(Pace::new(10_000.0, 100).is_err() && Pace::new(f64::NAN, 1).is_err());
        assert_eq!(Pace::new(10.0, 10).unwrap().length(5), Duration::from_millis(500));
    }
}
