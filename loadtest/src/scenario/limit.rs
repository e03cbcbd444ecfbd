//! Is an upload stopped at exactly the byte that its manifest says? Counted at the origin, through one tunnel and through many.
//!
//! Every round has a device and a manifest of its own: a budget that was spent does not come back. The clients try to send
//! far more than the limit; the order for the origin at the head of each tunnel counts like every other byte. A single byte
//! over or under fails the run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::Aim;
use crate::carriage::Carriage;
use crate::deployment::Grant;
use crate::figures::Figure;
use crate::origin::{Order, Origin, PIECE, Seen, Watch};
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

/// What the other limit of a manifest is when only one is measured, in bytes.
const FAR: u64 = 1 << 50;
/// How long connections may take to end once their budget has.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the origin is asked whether they have.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The limit of the first round, in bytes. Each further round has one more byte than twice the one before, and starts over
    /// when that is more than 64 MiB.
    #[arg(long, value_name = "BYTES", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..=64 << 20))]
    bytes: u64,
    /// Tunnels that share a limit.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100))]
    tunnels: u32,
    /// Rounds of each kind.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// Which limit is run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of a session, by one tunnel.
    Session,
    /// Of all sessions, by tunnels at the same time.
    All,
}

impl Kind {
    const BOTH: [Self; 2] = [Self::Session, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Session => "one session",
            Self::All => "parallel sessions",
        }
    }

    fn grant(self, limit: u64) -> Grant {
        match self {
            Self::Session => Grant::Upload { session: limit, all: FAR },
            Self::All => Grant::Upload { session: FAR, all: limit },
        }
    }
}

/// A round that has not begun.
struct Prepared {
    kind: Kind,
    limit: u64,
    subject: Subject,
}

/// Measures round by round.
///
/// # Errors
/// What did not work. Bytes over or under a limit are faults of the report.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("limit");
    let origin = Origin::bind()?;
    let mut deployment = arguments.aim.deployment(&origin, &mut report)?;
    progress("signing");
    let mut granted = Vec::new();
    for (number, limit) in (0..arguments.rounds).zip(limits(arguments.bytes)) {
        for kind in Kind::BOTH {
            let device = format!("device-{number}-{kind:?}");
            granted.push((kind, limit, deployment.device_with(&device, &kind.grant(limit))?));
        }
    }
    let first = granted.first().map(|(.., tls)| Arc::clone(tls)).context("no rounds")?;
    progress("starting the gateway");
    let gateway = deployment.start(first)?;
    let prepare = |(kind, limit, tls)| {
        let subject = arguments.carriage.instead(vec![gateway.as_device(tls)]).pop()?;
        Some(Prepared { kind, limit, subject })
    };
    let rounds: Vec<Prepared> = granted.into_iter().filter_map(prepare).collect();
    arguments.carriage.said().into_iter().for_each(|line| report.method(line));
    report.method(format!(
        "{} rounds of each kind, limits from {} bytes on, {} parallel sessions; bytes counted at the origin",
        arguments.rounds, arguments.bytes, arguments.tunnels
    ));
    crate::bounded(bound, async {
        let watch = Arc::new(Watch::default());
        origin.serve(&watch)?;
        let mut off: [(Vec<f64>, Vec<f64>); 2] = Default::default();
        for (number, round) in rounds.iter().enumerate() {
            progress(format_args!("round {number}"));
            let came = upload(arguments, round, &watch).await;
            let came =
                came.with_context(|| format!("the end of the gateway's log:\n{}", deployment.log()))?;
            let (over, under) = (came.saturating_sub(round.limit), round.limit.saturating_sub(came));
            if over + under > 0 {
                report.fault(format!("{}: {came} bytes came of {}", round.kind.name(), round.limit));
            }
            let [session, all] = &mut off;
            let off = if round.kind == Kind::Session { session } else { all };
            off.0.push(over as f64);
            off.1.push(under as f64);
        }
        for (kind, (over, under)) in Kind::BOTH.into_iter().zip(&off) {
            let (name, kind) = (&gateway.name, kind.name());
            report.figures(Figure::of(name, &format!("{kind}, bytes over the limit"), "B", over));
            report.figures(Figure::of(name, &format!("{kind}, bytes short of it"), "B", under));
        }
        Ok(report)
    })
}

/// The limits of the rounds: of every size, and hardly ever a multiple of anything.
fn limits(first: u64) -> impl Iterator<Item = u64> {
    let next = move |limit: &u64| Some(if *limit > 32 << 20 { first } else { 2 * limit + 1 });
    std::iter::successors(Some(first), next)
}

/// Sends more than the limit and says how much came.
async fn upload(arguments: &Arguments, round: &Prepared, watch: &Watch) -> anyhow::Result<u64> {
    let before = watch.seen();
    let count = match round.kind {
        Kind::Session => 1,
        Kind::All => usize::try_from(arguments.tunnels)?,
    };
    let tunnels = tunnel::open_many(&round.subject, count, Order::Take(u64::MAX)).await?;
    let mut pouring = JoinSet::new();
    for tunnel in tunnels {
        pouring.spawn(pour(tunnel, round.limit + (1 << 20)));
    }
    while let Some(stopped) = tokio::time::timeout(PATIENCE, pouring.join_next()).await? {
        ensure!(stopped?, "an upload over its limit went through");
    }
    settled(watch, before).await
}

/// Sends until it is stopped. Whether it was.
async fn pour(mut tunnel: Tunnel, bytes: u64) -> bool {
    let piece = vec![b'.'; PIECE];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        if tunnel.write_all(piece.get(..now).unwrap_or_default()).await.is_err() {
            return true;
        }
        left -= now as u64;
    }
    // All of it was taken by buffers; the end comes as a reset, never as the origin's receipt.
    let _flushed = tunnel.flush().await;
    !matches!(tokio::time::timeout(PATIENCE, tunnel.read_u8()).await, Ok(Ok(_)) | Err(_))
}

/// Waits until no connection of the round is left at the origin, and says how many bytes came.
async fn settled(watch: &Watch, before: Seen) -> anyhow::Result<u64> {
    let over = async {
        loop {
            let seen = watch.seen();
            if seen.connections > before.connections && seen.over == seen.connections {
                return seen.bytes - before.bytes;
            }
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::time::timeout(PATIENCE, over).await.context("connections outlive their budget")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_and_start_over() {
        let limits: Vec<u64> = limits(20 << 20).take(4).collect();
        assert_eq!(limits, [20 << 20, (40 << 20) + 1, 20 << 20, (40 << 20) + 1]);
    }
}
