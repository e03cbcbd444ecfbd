//! What do many measurements say? Medians, ranges, quantiles, and ratios of subjects measured in turns.

use std::borrow::Cow;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One figure of one subject, condensed from its rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Which proxy.
    pub(crate) subject: String,
    /// What was measured.
    pub(crate) figure: String,
    /// In what.
    pub(crate) unit: Cow<'static, str>,
    /// The median of the rounds.
    pub(crate) median: f64,
    /// The least of them.
    pub(crate) least: f64,
    /// The greatest of them.
    pub(crate) greatest: f64,
    /// How many there were.
    pub(crate) rounds: usize,
}

impl Figure {
    /// Condenses the values of the rounds; `None` when there were none.
    pub(crate) fn of(subject: &str, figure: &str, unit: &'static str, values: &[f64]) -> Option<Self> {
        let sorted = sorted(values);
        Some(Self {
            subject: subject.to_owned(),
            figure: figure.to_owned(),
            unit: unit.into(),
            median: median(&sorted)?,
            least: *sorted.first()?,
            greatest: *sorted.last()?,
            rounds: sorted.len(),
        })
    }

    /// A figure that was measured once.
    pub(crate) fn single(subject: &str, figure: &str, unit: &'static str, value: f64) -> Self {
        let (subject, figure) = (subject.to_owned(), figure.to_owned());
        Self { subject, figure, unit: unit.into(), median: value, least: value, greatest: value, rounds: 1 }
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Times, kept as a histogram in microseconds.
#[derive(Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// Up to ten minutes, to three digits.
    ///
    /// # Errors
    /// Never, for these bounds.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 600_000_000, 3)?))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// p50, p99 and the greatest, as figures in milliseconds.
    pub(crate) fn figures(&self, subject: &str, what: &str) -> Vec<Figure> {
        let quantiles = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];
        self.quantiles(subject, what, &quantiles, "ms", |micros| ms(Duration::from_micros(micros)))
    }

    /// p50, p99, p99.9 and the greatest, as figures in microseconds.
    pub(crate) fn micros(&self, subject: &str, what: &str) -> Vec<Figure> {
        let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
        self.quantiles(subject, what, &quantiles, "µs", |micros| micros as f64)
    }

    fn quantiles(
        &self,
        subject: &str,
        what: &str,
        quantiles: &[(&str, f64)],
        unit: &'static str,
        in_unit: impl Fn(u64) -> f64,
    ) -> Vec<Figure> {
        let rounds = usize::try_from(self.0.len()).unwrap_or(usize::MAX);
        let figure = |(name, quantile): &(&str, f64)| {
            let value = in_unit(self.0.value_at_quantile(*quantile).min(self.0.max()));
            Figure { rounds, ..Figure::single(subject, &format!("{what}, {name}"), unit, value) }
        };
        quantiles.iter().map(figure).collect()
    }
}

/// A duration in milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0][..], Some(3.0)),
            (&[9.0, 1.0, 2.0][..], Some(2.0)),
            (&[4.0, 1.0, 2.0, 3.0][..], Some(2.5)),
        ] {
            assert_eq!(median(&sorted(values)), expected, "{values:?}");
        }
    }

    #[test]
    fn a_figure_keeps_the_range_of_its_rounds() {
        let figure = Figure::of("a", "b", "ms", &[5.0, 1.0, 3.0]).unwrap();
        assert_eq!((figure.least, figure.median, figure.greatest, figure.rounds), (1.0, 3.0, 5.0, 3));
        assert!(Figure::of("a", "b", "ms", &[]).is_none());
    }

    #[test]
    fn times_are_told_by_quantiles() {
        let mut times = Times::new().unwrap();
        (1..=100).for_each(|time| times.record(Duration::from_millis(time)));
        let values: Vec<f64> = times.figures("a", "b").iter().map(|figure| figure.median.round()).collect();
        assert_eq!(values, [50.0, 99.0, 100.0]);
        let names: Vec<String> = times.micros("a", "b").into_iter().map(|figure| figure.figure).collect();
        assert_eq!(names, ["b, p50", "b, p99", "b, p99.9", "b, max"]);
    }
}
