//! What time is it? Wall-clock time that never runs backwards.
//!
//! Expiry, freshness of CRLs and budget windows are wall-clock facts, yet a clock that is set back must not bring a
//! manifest, a certificate or a budget back to life. Readings are therefore the later of the wall clock and the time that the
//! monotonic clock has measured since the program began. A jump forward ends what it overtakes and, once corrected,
//! leaves no trace. This module never sleeps and never measures durations: [`Instant`] is for that.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// A wall clock anchored to the monotonic one.
#[derive(Debug, Clone)]
pub struct Clock {
    began_wall: Duration,
    began: Instant,
}

impl Clock {
    /// Anchors a clock at the present moment.
    #[must_use]
    pub fn start() -> Self {
        Self { began_wall: wall(), began: Instant::now() }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        i64::try_from(self.since_epoch().as_secs()).unwrap_or(i64::MAX)
    }

    fn since_epoch(&self) -> Duration {
        let measured = self.began_wall + self.began.elapsed();
        wall().max(measured)
    }
}

/// TLS goes by this clock too, so that no handshake lives in another time than the policy.
impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.since_epoch()))
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_set_back_does_not_turn_time_back() {
        let ahead = Clock { began_wall: wall() + Duration::from_secs(3600), began: Instant::now() };
        assert!(ahead.now() >= i64::try_from(wall().as_secs()).unwrap() + 3599);
    }
}
