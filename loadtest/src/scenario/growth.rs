//! What does a session cost when there is much else? Beside many idle tunnels, and under a policy of many manifests.
//!
//! For every number a gateway of its own is started, brought to that number, and kept there; then they are measured in
//! turns, round by round, so that whatever else happens on the machine happens to all. What counts is the ratio to the
//! first: the cost of a session should not know how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::Aim;
use crate::cores::Cores;
use crate::deployment::Deployment;
use crate::figures::{Figure, ms};
use crate::origin::{Order, Origin, Watch};
use crate::process::{Cpu, resident_kib};
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

/// Clients that open sessions, each one after the other.
const CLIENTS: usize = 16;
/// Tunnels that ping; as many for every gateway, so that wake-ups are shared alike.
const BUSY: usize = 10;
/// What goes there and back.
const PING: [u8; 64] = [b'.'; 64];
/// How long nothing happens while the cost of that is measured.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Idle tunnels to hold: a gateway for each number.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "10,100,1000,5000", value_parser = clap::value_parser!(u32).range(10..=50_000))]
    tunnels: Vec<u32>,
    /// Manifests in the policy directory: a gateway for each number.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "10,1000,100000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    manifests: Vec<u32>,
    /// Only one of the two.
    #[arg(long, value_enum)]
    of: Option<Growing>,
    /// New sessions a round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Round trips a round.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    trips: u32,
    /// Rounds, after one that does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    aim: Aim,
}

/// Of what there is more and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Growing {
    /// Idle tunnels.
    Tunnels,
    /// Manifests.
    Manifests,
}

/// A gateway that has been brought to its number.
struct Grown {
    subject: Subject,
    held: Vec<Tunnel>,
    deployment: Deployment,
}

/// What the rounds of one gateway gave, in milliseconds of processor time.
#[derive(Default)]
struct Costs {
    session: Vec<f64>,
    trip: Vec<f64>,
    idle: Vec<f64>,
}

/// Measures both kinds of growth, or the one that was asked for.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("growth");
    let Arguments { sessions, trips, rounds, .. } = arguments;
    report.method(format!(
        "{rounds} rounds of {sessions} full handshakes and {trips} round trips of 64 bytes, a gateway for each number, in turns"
    ));
    report.method("manifests other than the device's own have three entries");
    for (growing, numbers) in
        [(Growing::Tunnels, &arguments.tunnels), (Growing::Manifests, &arguments.manifests)]
    {
        if arguments.of.is_none_or(|only| only == growing) {
            report = grow(arguments, growing, numbers, report, bound)?;
        }
    }
    Ok(report)
}

fn grow(
    arguments: &Arguments,
    growing: Growing,
    numbers: &[u32],
    mut report: Report,
    bound: Duration,
) -> anyhow::Result<Report> {
    let cores = Cores::divide()?;
    let origin = Origin::bind()?;
    if let Some(cores) = &cores {
        cores.as_proxy()?;
    }
    let mut gateways = Vec::new();
    for number in numbers {
        progress(format_args!("a gateway for {}", growing.named(*number)));
        let mut deployment = arguments.aim.deployment(&origin, &mut report)?;
        let device = deployment.device("device-0")?;
        if growing == Growing::Manifests {
            deployment.others(usize::try_from(number.saturating_sub(1))?)?;
        }
        let subject = Subject { name: growing.named(*number), ..deployment.start(device)? };
        gateways.push((subject, deployment));
    }
    if let Some(cores) = &cores {
        cores.as_load()?;
    }
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let mut grown = Vec::new();
        for ((subject, deployment), number) in gateways.into_iter().zip(numbers) {
            let count = if growing == Growing::Tunnels { usize::try_from(*number)? } else { BUSY };
            progress(format_args!("{}: opening {count} tunnels", subject.name));
            let held = tunnel::open_many(&subject, count, Order::Echo).await?;
            grown.push(Grown { subject, held, deployment });
        }
        let costs = measure(arguments, &mut grown).await?;
        report.figures(figures(&grown, &costs)?);
        Ok(report)
    })
}

impl Growing {
    fn named(self, number: u32) -> String {
        match self {
            Self::Tunnels => format!("{number} tunnels"),
            Self::Manifests => format!("{number} manifests"),
        }
    }
}

fn figures(grown: &[Grown], costs: &[Costs]) -> anyhow::Result<Vec<Figure>> {
    let first = costs.first().context("no gateway was measured")?;
    let mut figures = Vec::new();
    for (Grown { subject, .. }, costs) in grown.iter().zip(costs) {
        let name = &subject.name;
        let ratio = |of: &[f64], to: &[f64]| of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>();
        let medians = [
            Figure::of(name, "new session, processor time", "ms", &costs.session),
            Figure::of(name, "new session, ratio to the first", "", &ratio(&costs.session, &first.session)),
            Figure::of(name, "round trip, processor time", "ms", &costs.trip),
            Figure::of(name, "round trip, ratio to the first", "", &ratio(&costs.trip, &first.trip)),
            Figure::of(name, "a second of nothing, processor time", "ms", &costs.idle),
        ];
        figures.extend(medians.into_iter().flatten());
        figures.push(Figure::single(name, "resident", "MiB", resident_kib(subject.pid()?)? as f64 / 1024.0));
    }
    Ok(figures)
}

async fn measure(arguments: &Arguments, grown: &mut [Grown]) -> anyhow::Result<Vec<Costs>> {
    let mut costs: Vec<Costs> = grown.iter().map(|_| Costs::default()).collect();
    for number in 0..=arguments.rounds {
        progress(format_args!("round {number}"));
        let before = now(grown)?;
        tokio::time::sleep(PAUSE).await;
        let after = now(grown)?;
        for ((grown, costs), (after, before)) in
            grown.iter_mut().zip(&mut costs).zip(after.iter().zip(&before))
        {
            let round = round(arguments, grown).await.with_context(|| {
                format!("{}; the end of its log:\n{}", grown.subject.name, grown.deployment.log())
            })?;
            if number > 0 {
                costs.idle.push(ms(after.since(before)) / PAUSE.as_secs_f64());
                costs.session.push(ms(round.sessions) / f64::from(arguments.sessions));
                costs.trip.push(ms(round.trips) / f64::from(arguments.trips));
            }
        }
    }
    Ok(costs)
}

fn now(grown: &[Grown]) -> anyhow::Result<Vec<Cpu>> {
    grown.iter().map(|grown| Cpu::of(grown.subject.pid()?)).collect()
}

/// Processor time of the gateway.
struct Round {
    sessions: Duration,
    trips: Duration,
}

async fn round(arguments: &Arguments, grown: &mut Grown) -> anyhow::Result<Round> {
    let pid = grown.subject.pid()?;
    let began = Cpu::of(pid)?;
    open_and_end(&grown.subject, usize::try_from(arguments.sessions)?).await?;
    let opened = Cpu::of(pid)?;
    let each = usize::try_from(arguments.trips)? / BUSY;
    let pings = grown.held.iter_mut().take(BUSY).map(|tunnel| ping(tunnel, each));
    futures_util::future::try_join_all(pings).await?;
    let pinged = Cpu::of(pid)?;
    Ok(Round { sessions: opened.since(&began), trips: pinged.since(&opened) })
}

async fn open_and_end(subject: &Subject, total: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (subject, next) = (subject.clone(), Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return anyhow::Ok(());
                }
                let mut tunnel = tunnel::open(&subject, number, Order::Echo).await?;
                ping(&mut tunnel, 1).await?;
                tunnel.shutdown().await?;
                let left = tunnel.read(&mut [0; 16]).await.context("the end of a session")?;
                ensure!(left == 0, "bytes behind the last");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn ping(tunnel: &mut Tunnel, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        tunnel.write_all(&PING).await?;
        tunnel.flush().await?;
        tunnel.read_exact(&mut [0; PING.len()]).await.context("a ping that does not come back")?;
    }
    Ok(())
}
