//! What a drill found.

use std::collections::BTreeMap;
use std::time::Duration;

use config::ManifestId;
use jiff::Timestamp;
use policy_sync::control::api::views::RevokedView;
use serde::Serialize;

use super::session::End;
use crate::cli::Table;

/// What a drill found; times in milliseconds since the decision.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    at: String,
    manifest: String,
    bound_ms: f64,
    /// Whether every tunnel was over within the bound.
    pub(super) passed: bool,
    /// When the API had answered.
    answered_ms: f64,
    gateways: Vec<Through>,
    /// What the API said.
    receipt: RevokedView,
}

/// The tunnels through one gateway.
#[derive(Debug, Serialize)]
struct Through {
    gateway: String,
    sessions: usize,
    last_byte: Spread,
    closed: Spread,
    /// Tunnels that were over later than the bound, or never.
    late: usize,
    /// Tunnels that were never closed.
    open: usize,
    /// Tunnels that had closed before the decision: they say nothing, and the drill has not passed.
    early: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Report {
    pub(super) fn new(
        manifest: &ManifestId,
        bound: Duration,
        answered: Duration,
        receipt: RevokedView,
        ends: &[End],
    ) -> Self {
        let mut by_gateway: BTreeMap<&str, Vec<&End>> = BTreeMap::new();
        for end in ends {
            by_gateway.entry(&end.gateway).or_default().push(end);
        }
        let gateways: Vec<_> =
            by_gateway.into_iter().map(|(gateway, ends)| Through::new(gateway, bound, &ends)).collect();
        let passed = gateways.iter().all(|through| through.late + through.early == 0);
        Self {
            at: Timestamp::now().to_string(),
            manifest: manifest.to_string(),
            bound_ms: ms(bound),
            passed,
            answered_ms: ms(answered),
            gateways,
            receipt,
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table =
            Table::new(["GATEWAY", "TUNNELS", "LAST BYTE p50/p99/max", "CLOSED p50/p99/max", "LATE"]);
        for through in &self.gateways {
            table.row([
                &through.gateway,
                &through.sessions,
                &through.last_byte,
                &through.closed,
                &(through.late + through.early),
            ]);
        }
        table
    }

    /// What the figures mean, a line each.
    pub(super) fn verdict(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "the API answered after {:.1} ms: applied by {}, pending at {}",
            self.answered_ms,
            listed(self.receipt.applied.iter().map(|applied| applied.gateway.as_str())),
            listed(self.receipt.pending.iter().map(String::as_str)),
        )];
        for through in &self.gateways {
            if through.open > 0 {
                lines.push(format!("{}: {} tunnels never closed", through.gateway, through.open));
            }
            if through.early > 0 {
                lines.push(format!(
                    "{}: {} tunnels closed before the decision",
                    through.gateway, through.early
                ));
            }
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        lines.push(format!("{verdict}: every tunnel has to be over within {:.0} ms", self.bound_ms));
        lines
    }
}

impl Through {
    fn new(gateway: &str, bound: Duration, ends: &[&End]) -> Self {
        let is_late = |end: &&&End| end.last_byte > bound || end.closed.is_none_or(|closed| closed > bound);
        Self {
            gateway: gateway.to_owned(),
            sessions: ends.len(),
            last_byte: Spread::of(ends.iter().map(|end| end.last_byte)),
            closed: Spread::of(ends.iter().filter_map(|end| end.closed)),
            late: ends.iter().filter(is_late).count(),
            open: ends.iter().filter(|end| end.closed.is_none()).count(),
            early: ends.iter().filter(|end| end.early).count(),
        }
    }
}

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        // The nearest rank: no figure that was not measured.
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            ms(times.get(rank).copied().unwrap_or_default())
        };
        Self { p50_ms: rank(50), p99_ms: rank(99), max_ms: rank(100) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} / {:.1} / {:.1} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "nobody".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(gateway: &str, last_byte: u64, closed: Option<u64>) -> End {
        let millis = Duration::from_millis;
        End {
            gateway: gateway.into(),
            last_byte: millis(last_byte),
            closed: closed.map(millis),
            early: false,
        }
    }

    fn report(ends: &[End]) -> Report {
        let id: ManifestId = "cm-drill-1".parse().unwrap();
        let receipt = serde_json::json!({
            "sequence": 2, "epoch": 1, "revocation": "rv-1", "target": {"manifest_id": "cm-drill-1"},
            "repeated": false, "applied": [], "pending": ["gw-2"],
        });
        let receipt = serde_json::from_value(receipt).unwrap();
        Report::new(&id, Duration::from_millis(100), Duration::from_millis(9), receipt, ends)
    }

    #[test]
    fn the_figures_are_measured_ones_and_a_late_tunnel_fails_the_drill() {
        let good: Vec<_> = (1..=100).map(|n| end("gw-1", n / 2, Some(n))).collect();
        let good = report(&good);
        assert!(good.passed);
        assert_eq!(good.gateways[0].closed, Spread { p50_ms: 50.0, p99_ms: 99.0, max_ms: 100.0 });
        assert!(good.verdict().iter().any(|line| line.contains("pending at gw-2")));
        for bad in [end("gw-2", 101, Some(10)), end("gw-2", 1, Some(101)), end("gw-2", 1, None)] {
            let report = report(&[end("gw-1", 1, Some(2)), bad]);
            assert!(!report.passed);
            assert_eq!((report.gateways[0].late, report.gateways[1].late), (0, 1));
        }
        let early = End { early: true, ..end("gw-1", 0, Some(0)) };
        assert!(!report(&[early]).passed, "what closed by itself shows nothing");
    }
}
