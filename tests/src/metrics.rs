//! The text of `/metrics`, taken apart.

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum over all series of this metric whose labels contain every one of `labels`, such as `decision="allowed"`.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let series = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (own, set) = series.split_once('{').unwrap_or((series, ""));
            let matches = own == name && labels.iter().all(|label| set.contains(label));
            matches.then(|| value.parse::<f64>().unwrap_or_default())
        });
        series.sum()
    }

    /// Every metric's name, from the `# TYPE` lines.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// How many series there are in all.
    #[must_use]
    pub fn series(&self) -> usize {
        self.0.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
    }
}
