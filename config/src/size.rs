//! How much: sizes as people write them, and limits.
//!
//! A size that cannot be read is refused; it never falls back to a default, to zero, or to no limit at all.

use std::fmt;

/// What was granted: so many bytes, or no limit. The absence of a limit must be spelled out to come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// At most so many bytes; 0 means none.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// The limit as a plain number of bytes: `u64::MAX` when there is none.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }

    /// Reads `"10MiB"`, `"250 kB"`, `"4096"` or `"unlimited"`.
    ///
    /// # Errors
    /// [`MalformedSize`] for anything else.
    pub fn parse(text: &str) -> Result<Self, MalformedSize> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        parse_size(text).map(Self::Bytes)
    }

    /// Of two limits the one that grants less.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.bytes() <= other.bytes() { self } else { other }
    }
}

/// Why text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSize {
    /// No digits at the beginning, a sign, a fraction, an exponent.
    #[error("a size is a whole number, with or without a unit")]
    Number,
    /// A unit other than the six.
    #[error("the unit of a size is one of KiB, MiB, GiB, kB, MB, GB")]
    Unit,
    /// More than a 64-bit number of bytes.
    #[error("the size is too large")]
    TooLarge,
}

/// Reads a whole number of bytes with an optional unit: `KiB MiB GiB` (powers of 1024) or `kB MB GB` (powers of 1000).
///
/// # Errors
/// [`MalformedSize`] for anything else, overflow included.
pub fn parse_size(text: &str) -> Result<u64, MalformedSize> {
    let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(MalformedSize::Number);
    }
    let unit = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" if unit.is_empty() => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other if other.starts_with(['.', ',', 'e', '_']) => return Err(MalformedSize::Number),
        _ => return Err(MalformedSize::Unit),
    };
    let number: u64 = digits.parse().map_err(|_| MalformedSize::TooLarge)?;
    number.checked_mul(unit).ok_or(MalformedSize::TooLarge)
}

/// The shortest exact spelling, which reads back to the same limit.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bytes(bytes) = *self else { return f.write_str("unlimited") };
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if bytes != 0 && bytes % unit == 0 {
                return write!(f, "{}{name}", bytes / unit);
            }
        }
        write!(f, "{bytes}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1", Ok(1)),
            ("10MiB", Ok(10 << 20)),
            ("10 MiB", Ok(10 << 20)),
            ("1GiB", Ok(1 << 30)),
            ("2KiB", Ok(2048)),
            ("2kB", Ok(2000)),
            ("3MB", Ok(3_000_000)),
            ("4GB", Ok(4_000_000_000)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(MalformedSize::TooLarge)),
            ("99999999999GiB", Err(MalformedSize::TooLarge)),
            ("", Err(MalformedSize::Number)),
            ("MiB", Err(MalformedSize::Number)),
            ("-1", Err(MalformedSize::Number)),
            ("+1", Err(MalformedSize::Number)),
            ("1.5MiB", Err(MalformedSize::Number)),
            ("1e3", Err(MalformedSize::Number)),
            ("1_000", Err(MalformedSize::Number)),
            (" 1", Err(MalformedSize::Number)),
            ("1 ", Err(MalformedSize::Unit)),
            ("10mib", Err(MalformedSize::Unit)),
            ("10KB", Err(MalformedSize::Unit)),
            ("10TB", Err(MalformedSize::Unit)),
            ("10  MiB", Err(MalformedSize::Unit)),
            ("10MiB ", Err(MalformedSize::Unit)),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn no_limit_must_be_spelled_out() {
        assert_eq!(Limit::parse("unlimited"), Ok(Limit::Unlimited));
        for text in ["Unlimited", "none", "-1", "inf", "0x0", "null", ""] {
            assert!(Limit::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Limit::parse("0"), Ok(Limit::Bytes(0)));
    }

    proptest! {
        #[test]
        fn a_printed_limit_reads_back(bytes in prop_oneof![any::<u64>(), (0_u64..4096).prop_map(|n| n << 20)]) {
            let limit = Limit::Bytes(bytes);
            prop_assert_eq!(Limit::parse(&limit.to_string()), Ok(limit));
        }
    }
}
