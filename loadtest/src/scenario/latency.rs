//! How long does a small message take through a busy tunnel and back, and what does it cost the proxy?
//!
//! Two measurements, each in rounds with the proxies in turns. *Flat out*: every tunnel sends the next message when the last
//! has come back; this tells the processor time of a round trip. *Open loop*: messages are due at fixed moments, whether
//! the ones before have come back or not, and each is counted from the moment it was due, so that a proxy that
//! stalls is not spared the messages that it held up (no coordinated omission).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::carriage::Carriage;
use crate::figures::{Figure, Times};
use crate::origin::{Order, Watch};
use crate::pace::Pace;
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

/// How long a message may be on its way before the run has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Round trips of each tunnel before anything counts.
const WARM_UP: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Busy tunnels.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tunnels: u32,
    /// Size of a message in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    bytes: u32,
    /// Messages a second that are due on each tunnel in the open loop.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Messages of each tunnel in a round of the open loop.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Round trips of each tunnel in a round flat out.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    trips: u32,
    /// Rounds, after some round trips that do not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// What the rounds of one subject gave.
struct Gathered {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    open: Times,
    late: Times,
}

/// Measures the subjects in turns.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("latency");
    let Bench { subjects, origin, started } = arguments.aim.bench(Placement::Apart, &mut report)?;
    let subjects = arguments.carriage.beside(subjects);
    arguments.carriage.said().into_iter().for_each(|line| report.method(line));
    let Arguments { tunnels, bytes, rate, messages, trips, rounds, .. } = arguments;
    report.method(format!(
        "{rounds} rounds of {bytes} bytes there and back over {tunnels} tunnels, proxies in turns: {trips} trips a tunnel \
         flat out, then {messages} messages a tunnel at {rate}/s, counted from the moment they were due"
    ));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let figures = measure(arguments, &subjects).await;
        report.figures(figures.map_err(|fault| Bench::explain(started.as_ref(), fault))?);
        Ok(report)
    })
}

fn figures(subject: &str, gathered: &Gathered) -> Vec<Figure> {
    let flat_out = [
        Figure::of(subject, "flat out, proxy processor time of a round trip", "µs", &gathered.cpu),
        Figure::of(subject, "flat out, round trips per second", "/s", &gathered.rate),
    ];
    let open = gathered.open.micros(subject, "open loop, round trip");
    let late = gathered.late.micros(subject, "open loop, the load's own lateness");
    flat_out.into_iter().flatten().chain(open).chain(late).collect()
}

/// The figures of all subjects, measured in turns.
///
/// # Errors
/// What did not work; also a pace that cannot be kept.
pub(crate) async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let pace = Pace::new(arguments.rate, arguments.tunnels)?;
    let size = usize::try_from(arguments.bytes)?;
    let mut held = Vec::new();
    for subject in subjects {
        let tunnels = tunnel::open_many(subject, usize::try_from(arguments.tunnels)?, Order::Echo).await?;
        let tunnels = flat_out(tunnels, size, WARM_UP).await?;
        held.push((subject, tunnels, Gathered::new()?));
    }
    for number in 1..=arguments.rounds {
        progress(format_args!("round {number}"));
        for (subject, tunnels, gathered) in &mut held {
            let before = subject.process.map(Cpu::of).transpose()?;
            let began = Instant::now();
            let back = flat_out(std::mem::take(tunnels), size, arguments.trips).await?;
            let took = began.elapsed();
            let after = subject.process.map(Cpu::of).transpose()?;
            let trips = f64::from(arguments.trips) * f64::from(arguments.tunnels);
            let cpu = after.zip(before).map(|(after, before)| after.since(&before));
            gathered.cpu.extend(cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / trips));
            gathered.rate.push(trips / took.as_secs_f64());
            *tunnels = open_loop(back, size, arguments.messages, pace, gathered).await?;
        }
    }
    Ok(held.iter().flat_map(|(subject, _, gathered)| figures(&subject.name, gathered)).collect())
}

impl Gathered {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { cpu: Vec::new(), rate: Vec::new(), open: Times::new()?, late: Times::new()? })
    }
}

/// Sends the next message whenever the last has come back, over all tunnels at once.
async fn flat_out(tunnels: Vec<Tunnel>, size: usize, trips: u32) -> anyhow::Result<Vec<Tunnel>> {
    let mut going = JoinSet::new();
    for mut tunnel in tunnels {
        going.spawn(async move {
            let (there, mut back) = (vec![b'.'; size], vec![0; size]);
            for _ in 0..trips {
                tunnel.write_all(&there).await?;
                tunnel.flush().await?;
                tunnel.read_exact(&mut back).await.context("a message that came back")?;
            }
            anyhow::Ok(tunnel)
        });
    }
    let mut back = Vec::new();
    while let Some(tunnel) = going.join_next().await {
        back.push(tunnel??);
    }
    Ok(back)
}

/// Sends messages when they are due, over all tunnels in turn.
async fn open_loop(
    tunnels: Vec<Tunnel>,
    size: usize,
    messages: u32,
    pace: Pace,
    gathered: &mut Gathered,
) -> anyhow::Result<Vec<Tunnel>> {
    let mut dues = Vec::new();
    let mut going = JoinSet::new();
    for tunnel in tunnels {
        // Room for all of them: the clock never waits for a tunnel that lags behind.
        let (due, when) = mpsc::channel(usize::try_from(messages)?);
        dues.push(due);
        going.spawn(answered(tunnel, when, size));
    }
    let clock = std::thread::spawn(move || pace.run(&dues, messages));
    let mut back = Vec::new();
    while let Some(done) = tokio::time::timeout(PATIENCE + pace.length(messages), going.join_next()).await? {
        let (tunnel, open, late) = done??;
        gathered.open.add(&open)?;
        gathered.late.add(&late)?;
        back.push(tunnel);
    }
    clock.join().map_err(|_| anyhow::anyhow!("the clock stopped"))?;
    Ok(back)
}

/// Sends one message for each moment, and reads the answers beside that: the times from the moments to the answers, and to the
/// sending.
async fn answered(
    tunnel: Tunnel,
    mut when: mpsc::Receiver<Instant>,
    size: usize,
) -> anyhow::Result<(Tunnel, Times, Times)> {
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let (sent, mut awaited) = mpsc::channel::<Instant>(when.max_capacity());
    let (mut open, mut late) = (Times::new()?, Times::new()?);
    let send = async {
        let message = vec![b'.'; size];
        while let Some(due) = when.recv().await {
            late.record(due.elapsed());
            writer.write_all(&message).await?;
            writer.flush().await?;
            sent.send(due).await?;
        }
        drop(sent);
        anyhow::Ok(())
    };
    let receive = async {
        let mut back = vec![0; size];
        while let Some(due) = awaited.recv().await {
            reader.read_exact(&mut back).await.context("a message that came back")?;
            open.record(due.elapsed());
        }
        anyhow::Ok(())
    };
    tokio::try_join!(send, receive)?;
    Ok((reader.unsplit(writer), open, late))
}
