//! The one place where this crate reads the wall clock: issuing, which a person does by hand.
//!
//! Verification never comes here; it is told what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Now, in seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A Unix time as `rcgen` wants it, capped to the last second of the year 9999, beyond which X.509 has no dates.
pub(crate) fn calendar(unix: i64) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    OffsetDateTime::from_unix_timestamp(unix.clamp(0, LAST)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
