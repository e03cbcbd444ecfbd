//! What does a GiB cost the proxy? Bulk uploads and downloads through a few tunnels, in turns with the reference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::carriage::Carriage;
use crate::figures::Figure;
use crate::origin::{Order, PIECE, Watch};
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

const MIB: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tunnels that carry bytes at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    tunnels: u32,
    /// MiB each way a round, over all tunnels.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    mib: u32,
    /// Rounds, after one that does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only this way.
    #[arg(long, value_enum)]
    way: Option<Way>,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// To the origin.
    Up,
    /// From the origin.
    Down,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Up, Self::Down];

    fn name(self) -> &'static str {
        match self {
            Self::Up => "upload",
            Self::Down => "download",
        }
    }
}

/// What the rounds of one subject gave, one way.
#[derive(Default)]
struct Gathered {
    cpu_per_gib: Vec<f64>,
    mib_per_second: Vec<f64>,
}

/// Measures the subjects in turns.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("transfer");
    let Bench { subjects, origin, started } = arguments.aim.bench(Placement::Apart, &mut report)?;
    let subjects = arguments.carriage.beside(subjects);
    arguments.carriage.said().into_iter().for_each(|line| report.method(line));
    let Arguments { tunnels, mib, rounds, .. } = arguments;
    report
        .method(format!("{rounds} rounds of {mib} MiB each way through {tunnels} tunnels, proxies in turns"));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let figures = measure(arguments, &subjects).await;
        report.figures(figures.map_err(|fault| Bench::explain(started.as_ref(), fault))?);
        Ok(report)
    })
}

/// The figures of all subjects, measured in turns.
///
/// # Errors
/// What did not work.
pub(crate) async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let mut gathered: Vec<[Gathered; 2]> = subjects.iter().map(|_| Default::default()).collect();
    for number in 0..=arguments.rounds {
        progress(format_args!("round {number}"));
        for (subject, gathered) in subjects.iter().zip(&mut gathered) {
            for (way, gathered) in Way::BOTH.into_iter().zip(gathered) {
                if arguments.way.is_some_and(|only| only != way) {
                    continue;
                }
                let (cpu, took) = round(arguments, subject, way).await?;
                if number > 0 {
                    let gib = f64::from(arguments.mib) / 1024.0;
                    gathered.cpu_per_gib.extend(cpu.map(|cpu| cpu.as_secs_f64() / gib));
                    gathered.mib_per_second.push(f64::from(arguments.mib) / took.as_secs_f64());
                }
            }
        }
    }
    let figures = subjects.iter().zip(&gathered).flat_map(|(subject, gathered)| {
        Way::BOTH.into_iter().zip(gathered).flat_map(|(way, gathered)| figures(&subject.name, way, gathered))
    });
    Ok(figures.collect())
}

fn figures(subject: &str, way: Way, gathered: &Gathered) -> impl Iterator<Item = Figure> {
    let way = way.name();
    let cpu = format!("{way}, proxy processor time per GiB");
    let rate = format!("{way}, throughput");
    let figures = [
        Figure::of(subject, &cpu, "s", &gathered.cpu_per_gib),
        Figure::of(subject, &rate, "MiB/s", &gathered.mib_per_second),
    ];
    figures.into_iter().flatten()
}

/// Moves a round's bytes one way. The tunnels are open before the clock starts.
async fn round(
    arguments: &Arguments,
    subject: &Subject,
    way: Way,
) -> anyhow::Result<(Option<Duration>, Duration)> {
    let each = u64::from(arguments.mib) * MIB / u64::from(arguments.tunnels);
    let order = match way {
        Way::Up => Order::Take(each),
        // The tunnel waits until the client asks for the bytes.
        Way::Down => Order::Give(0),
    };
    let tunnels = tunnel::open_many(subject, usize::try_from(arguments.tunnels)?, order).await?;
    let before = subject.process.map(Cpu::of).transpose()?;
    let began = Instant::now();
    let mut moving = JoinSet::new();
    for tunnel in tunnels {
        match way {
            Way::Up => moving.spawn(upload(tunnel, each)),
            Way::Down => moving.spawn(download(tunnel, each)),
        };
    }
    while let Some(moved) = moving.join_next().await {
        moved??;
    }
    let took = began.elapsed();
    let after = subject.process.map(Cpu::of).transpose()?;
    Ok((after.zip(before).map(|(after, before)| after.since(&before)), took))
}

async fn upload(mut tunnel: Tunnel, bytes: u64) -> anyhow::Result<()> {
    let piece = vec![b'.'; PIECE];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        tunnel.write_all(piece.get(..now).unwrap_or_default()).await.context("uploading")?;
        left -= now as u64;
    }
    tunnel.flush().await?;
    tunnel.read_u8().await.context("the origin's receipt")?;
    Ok(())
}

async fn download(mut tunnel: Tunnel, bytes: u64) -> anyhow::Result<()> {
    tunnel.write_all(&Order::Give(bytes).bytes()).await?;
    tunnel.flush().await?;
    let mut piece = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let read = tunnel.read(&mut piece).await.context("downloading")?;
        anyhow::ensure!(read > 0, "the download ended {left} bytes early");
        left = left.saturating_sub(read as u64);
    }
    Ok(())
}
