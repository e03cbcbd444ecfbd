//! What does a new session cost the proxy? TCP, full mTLS handshake, CONNECT, first byte there and back, orderly end.
//!
//! Sessions are opened by a fixed number of clients, each one after the other: the cost is what is measured, not the
//! latency under a given arrival, and the processor time of the proxy per session hardly depends on that. The proxies
//! are measured in turns, round by round, so that whatever else happens on the machine happens to both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::figures::{Figure, Times, ms};
use crate::origin::{Order, Watch};
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sessions a round.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Clients that open them.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    clients: u32,
    /// Rounds, after one that does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    aim: Aim,
}

/// What the rounds of one subject gave.
struct Gathered {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    times: Times,
}

/// Measures the subjects in turns.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("connect");
    let Bench { subjects, origin, started } = arguments.aim.bench(Placement::Apart, &mut report)?;
    let Arguments { sessions, clients, rounds, .. } = arguments;
    report.method(format!(
        "{rounds} rounds of {sessions} full handshakes by {clients} clients, proxies in turns"
    ));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let measured = measure(arguments, &subjects).await;
        let measured = measured.map_err(|fault| Bench::explain(started.as_ref(), fault))?;
        for (subject, gathered) in subjects.iter().zip(measured) {
            report.figures(figures(&subject.name, &gathered));
        }
        Ok(report)
    })
}

fn figures(subject: &str, gathered: &Gathered) -> Vec<Figure> {
    let medians = [
        Figure::of(subject, "proxy processor time per session", "ms", &gathered.cpu),
        Figure::of(subject, "sessions per second", "/s", &gathered.rate),
    ];
    let times = gathered.times.figures(subject, "time to first byte, closed loop");
    medians.into_iter().flatten().chain(times).collect()
}

async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Gathered>> {
    let mut gathered = Vec::new();
    for subject in subjects {
        round(arguments, subject).await?;
        gathered.push(Gathered { cpu: Vec::new(), rate: Vec::new(), times: Times::new()? });
    }
    for number in 1..=arguments.rounds {
        progress(format_args!("round {number}"));
        for (subject, gathered) in subjects.iter().zip(&mut gathered) {
            let Round { cpu, took, times } = round(arguments, subject).await?;
            gathered.cpu.extend(cpu.map(|cpu| ms(cpu) / f64::from(arguments.sessions)));
            gathered.rate.push(f64::from(arguments.sessions) / took.as_secs_f64());
            gathered.times.add(&times)?;
        }
    }
    Ok(gathered)
}

struct Round {
    cpu: Option<Duration>,
    took: Duration,
    times: Times,
}

async fn round(arguments: &Arguments, subject: &Subject) -> anyhow::Result<Round> {
    let total = usize::try_from(arguments.sessions)?;
    let next = Arc::new(AtomicUsize::new(0));
    let before = subject.process.map(Cpu::of).transpose()?;
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..arguments.clients {
        clients.spawn(client(subject.clone(), Arc::clone(&next), total));
    }
    let mut times = Times::new()?;
    while let Some(client) = clients.join_next().await {
        times.add(&client??)?;
    }
    let took = began.elapsed();
    let after = subject.process.map(Cpu::of).transpose()?;
    let cpu = after.zip(before).map(|(after, before)| after.since(&before));
    Ok(Round { cpu, took, times })
}

async fn client(subject: Subject, next: Arc<AtomicUsize>, total: usize) -> anyhow::Result<Times> {
    let mut times = Times::new()?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok(times);
        }
        let began = Instant::now();
        let mut tunnel = tunnel::open(&subject, number, Order::Echo).await?;
        tunnel.write_all(b".").await?;
        tunnel.flush().await?;
        tunnel.read_u8().await.context("the first byte")?;
        times.record(began.elapsed());
        tunnel.shutdown().await?;
        // The end of the other direction: the session is over on every side before the next begins.
        let left = tunnel.read(&mut [0; 16]).await.context("the end of a session")?;
        anyhow::ensure!(left == 0, "bytes behind the last");
    }
}
