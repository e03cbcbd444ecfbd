//! What do the clients of a soak do? One session after the other, each of some kind, each with one right outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::origin::{Order, PIECE};
use crate::plain::Client;
use crate::subject::{Protocol, Subject};
use crate::tunnel;

/// How long a session may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Faults that are kept in words.
const TOLD: usize = 10;
/// The most that goes through one tunnel, in bytes.
const MOST: u64 = 256 * 1024;

/// What kinds of sessions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Bytes there and back, then an orderly end.
    Echo,
    /// An upload that the origin acknowledges.
    Upload,
    /// A tunnel that the client drops in the middle.
    Abort,
    /// A plain request.
    Request,
    /// A destination that is not listed.
    Refusal,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Echo, Self::Upload, Self::Abort, Self::Request, Self::Refusal];

    fn name(self) -> &'static str {
        match self {
            Self::Echo => "there and back",
            Self::Upload => "uploads",
            Self::Abort => "dropped by the client",
            Self::Request => "plain requests",
            Self::Refusal => "refused",
        }
    }
}

/// What all clients have done so far.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    kinds: BTreeMap<Kind, u64>,
    wrong: u64,
    told: Vec<String>,
}

/// How many sessions there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// All of them.
    pub(super) sessions: u64,
    /// Those with another outcome than the right one.
    pub(super) wrong: u64,
}

impl Tally {
    fn note(&self, kind: Kind, outcome: &anyhow::Result<()>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.kinds.entry(kind).or_default() += 1;
        if let Err(fault) = outcome {
            counts.wrong += 1;
            if counts.told.len() < TOLD {
                counts.told.push(format!("{}: {fault:#}", kind.name()));
            }
        }
    }

    /// How many sessions there were.
    pub(super) fn done(&self) -> Done {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Done { sessions: counts.kinds.values().sum(), wrong: counts.wrong }
    }

    /// How many of each kind.
    pub(super) fn kinds(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.kinds.iter().map(|(kind, count)| (kind.name(), *count)).collect()
    }

    /// What went wrong, the first of it in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = counts.wrong.saturating_sub(counts.told.len() as u64);
        let rest = (more > 0).then(|| format!("{more} more sessions went wrong"));
        counts.told.iter().cloned().chain(rest).collect()
    }
}

/// One client, until the time is up.
pub(super) async fn run(
    subjects: Vec<Subject>,
    number: usize,
    every: Duration,
    until: Instant,
    tally: Arc<Tally>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut dice = Dice(number as u64 + 1);
    while Instant::now() < until {
        ticks.tick().await;
        let kind = dice.pick(&Kind::ALL).copied().unwrap_or(Kind::Echo);
        let Some(subject) = dice.pick(&subjects) else { return };
        let bytes = 1 + dice.roll() % MOST;
        let session = tokio::time::timeout(PATIENCE, session(kind, subject, number, bytes));
        let outcome = session.await.context("not over in time").flatten();
        tally.note(kind, &outcome);
    }
}

async fn session(kind: Kind, subject: &Subject, number: usize, bytes: u64) -> anyhow::Result<()> {
    match kind {
        Kind::Echo => echo(subject, number, usize::try_from(bytes)?).await,
        Kind::Upload => upload(subject, number, bytes).await,
        Kind::Abort => {
            let mut tunnel = tunnel::open(subject, number, Order::Take(u64::MAX)).await?;
            tunnel.write_all(&vec![b'.'; usize::try_from(bytes)?]).await?;
            drop(tunnel);
            Ok(())
        }
        Kind::Request => Client::of(&subject.over(Protocol::H1), number).await?.ask().await,
        Kind::Refusal => {
            let destinations = Arc::from(["unlisted.invalid:443".to_owned()]);
            let elsewhere = Subject { destinations, ..subject.clone() };
            let Err(fault) = tunnel::open_bare(&elsewhere, number).await else {
                anyhow::bail!("an unlisted destination was let through")
            };
            ensure!(fault.to_string().contains("refused unlisted.invalid:443"), "not refused but: {fault:#}");
            Ok(())
        }
    }
}

async fn echo(subject: &Subject, number: usize, bytes: usize) -> anyhow::Result<()> {
    let tunnel = tunnel::open(subject, number, Order::Echo).await?;
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let (there, mut back) = (vec![b'.'; bytes], vec![0; bytes]);
    let send = async {
        writer.write_all(&there).await?;
        writer.flush().await?;
        writer.shutdown().await
    };
    tokio::try_join!(send, reader.read_exact(&mut back)).context("bytes there and back")?;
    ensure!(back == there, "other bytes came back");
    ensure!(reader.read(&mut [0; 1]).await.context("the end")? == 0, "more bytes came back");
    Ok(())
}

async fn upload(subject: &Subject, number: usize, bytes: u64) -> anyhow::Result<()> {
    let mut tunnel = tunnel::open(subject, number, Order::Take(bytes)).await?;
    let mut left = bytes;
    let piece = vec![b'.'; PIECE];
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        tunnel.write_all(piece.get(..now).unwrap_or_default()).await.context("uploading")?;
        left -= now as u64;
    }
    tunnel.flush().await?;
    tunnel.read_u8().await.context("the origin's receipt")?;
    tunnel.shutdown().await?;
    Ok(())
}

/// The same throws for the same client in every run (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let turn = self.roll() % (of.len() as u64).max(1);
        of.get(usize::try_from(turn).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_up() {
        let mut dice = Dice(1);
        let thrown: std::collections::BTreeSet<_> =
            (0..200).filter_map(|_| dice.pick(&Kind::ALL).copied()).collect();
        assert_eq!(thrown.len(), Kind::ALL.len());
    }

    #[test]
    fn what_goes_wrong_is_counted_and_the_first_of_it_told() {
        let tally = Tally::default();
        tally.note(Kind::Echo, &Ok(()));
        for _ in 0..TOLD + 2 {
            tally.note(Kind::Upload, &Err(anyhow::anyhow!("broken")));
        }
        assert_eq!(tally.done(), Done { sessions: 13, wrong: 12 });
        assert_eq!(tally.kinds(), [("there and back", 1), ("uploads", 12)]);
        let faults = tally.faults();
        assert_eq!(faults.len(), TOLD + 1);
        assert_eq!(faults.first().map(String::as_str), Some("uploads: broken"));
        assert_eq!(faults.last().map(String::as_str), Some("2 more sessions went wrong"));
    }
}
