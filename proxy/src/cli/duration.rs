//! How long? Durations on the command line: `90d`, `12h`, `30m`, `45s`, `250ms`.

use std::time::Duration;

/// Reads a whole number with a unit.
///
/// # Errors
/// A sentence for the user when it is anything else, or too long to count.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a whole number and a unit: 90d, 12h, 30m, 45s, 250ms";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        _ => return Err(EXPECTED.into()),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(|| "that is too long".to_owned())
}

/// A duration as people read it, in its two largest units: `3d 4h`, `12s`, `250ms`.
pub(crate) fn display(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{}ms", duration.as_millis()),
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly_or_refused() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1_800), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        for text in [
            "",
            "d",
            "90",
            "1.5h",
            "-1s",
            "+1s",
            "1 h",
            "1w",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        for (seconds, shown) in [(12, "12s"), (61, "1m 1s"), (3_660, "1h 1m"), (273_600, "3d 4h")] {
            assert_eq!(display(Duration::from_secs(seconds)), shown);
        }
        assert_eq!(display(Duration::from_millis(250)), "250ms");
    }
}
