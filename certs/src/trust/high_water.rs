//! The highest CRL number seen of each authority: what makes a rollback visible, also across a restart.
//!
//! Relies on the caller to keep the text somewhere durable. Only proved CRLs raise a mark: a forged one with a huge
//! number must not keep the genuine ones out.

use std::collections::BTreeMap;

use crate::certificate::sha256;
use crate::crl::CrlNumber;

/// Highest CRL numbers by authority, that is by name and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighWater(BTreeMap<[u8; 32], CrlNumber>);

impl HighWater {
    /// Reads what [`HighWater::to_text`] wrote; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let line = |line: &str| {
            let (authority, number) = line.split_once(' ')?;
            Some((bytes(authority)?.try_into().ok()?, CrlNumber::read(&bytes(&format!("00{number}"))?)?))
        };
        text.lines().map(line).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    /// One line for each authority.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.0.iter().map(|(authority, number)| format!("{} {}\n", hex(authority), number.hex())).collect()
    }

    /// The highest number seen of this authority.
    pub(super) fn of(&self, issuer: &[u8], key: &[u8; 32]) -> Option<CrlNumber> {
        self.0.get(&authority(issuer, key)).copied()
    }

    /// Raises the mark, never lowers it.
    pub(super) fn raise(&mut self, issuer: &[u8], key: &[u8; 32], number: CrlNumber) {
        let mark = self.0.entry(authority(issuer, key)).or_insert(number);
        *mark = number.max(*mark);
    }

    /// The higher of each.
    #[must_use]
    pub fn joined(mut self, other: &Self) -> Self {
        for (authority, number) in &other.0 {
            let mark = self.0.entry(*authority).or_insert(*number);
            *mark = (*number).max(*mark);
        }
        self
    }
}

fn authority(issuer: &[u8], key: &[u8; 32]) -> [u8; 32] {
    sha256(&[issuer, key].concat())
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.is_ascii().then_some(hex)?;
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(low: u8) -> CrlNumber {
        CrlNumber::read(&[low]).unwrap()
    }

    #[test]
    fn marks_survive_as_text_and_only_rise() {
        let mut marks = HighWater::default();
        marks.raise(b"one", &[1; 32], number(7));
        marks.raise(b"one", &[1; 32], number(3));
        marks.raise(b"one", &[2; 32], number(4));
        let read = HighWater::parse(&marks.to_text()).unwrap();
        assert_eq!(read, marks);
        assert_eq!(read.of(b"one", &[1; 32]), Some(number(7)));
        assert_eq!(read.of(b"two", &[1; 32]), None);
    }

    #[test]
    fn spoilt_text_is_not_an_empty_map() {
        for text in ["x", "00 01", "zz zz\n", "0 ", " \n"] {
            assert_eq!(HighWater::parse(text), None, "{text:?}");
        }
        assert_eq!(HighWater::parse(""), Some(HighWater::default()));
    }
}
