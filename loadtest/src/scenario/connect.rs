//! What does a new session cost the proxy? TCP, mTLS handshake, CONNECT, first byte there and back, orderly end.
//!
//! Handshakes are full, or resume the client's last session; over HTTP/2 there are none, because tunnels open on connections
//! that stand already. Sessions are opened by a fixed number of clients, each one after the other: the cost is what is
//! measured, not the latency under a given arrival, and the processor time of the proxy per session hardly depends on
//! that. The proxies are measured in turns, round by round, so that whatever else happens on the machine happens to both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::carriage::Carriage;
use crate::figures::{Figure, Times, ms};
use crate::origin::{Order, Watch};
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::{Protocol, Subject};
use crate::tunnel::Door;

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
    /// How sessions begin, over HTTP/1.1.
    #[arg(long, value_enum, default_value = "full")]
    handshake: Handshake,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// How a TLS session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Handshake {
    /// With certificates on both sides.
    Full,
    /// From a ticket of the client's last session, when the proxy gives any.
    Resumed,
}

/// What the rounds of one subject gave.
struct Gathered {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    resumed: Vec<f64>,
    times: Times,
}

/// Measures the subjects in turns.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("connect");
    let Arguments { sessions, clients, rounds, handshake, carriage, aim } = arguments;
    let aim = if *handshake == Handshake::Resumed { aim.resuming() } else { aim.clone() };
    let Bench { subjects, origin, started } = aim.bench(Placement::Apart, &mut report)?;
    let subjects = carriage.beside(subjects);
    carriage.said().into_iter().for_each(|line| report.method(line));
    let kind = match handshake {
        Handshake::Full => "with full handshakes",
        Handshake::Resumed => "that resume the session before, each client's first aside,",
    };
    report.method(format!(
        "{rounds} rounds of {sessions} sessions {kind} by {clients} clients, proxies in turns"
    ));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let figures = measure(arguments, &subjects).await;
        report.figures(figures.map_err(|fault| Bench::explain(started.as_ref(), fault))?);
        Ok(report)
    })
}

fn figures(subject: &str, gathered: &Gathered) -> Vec<Figure> {
    let medians = [
        Figure::of(subject, "proxy processor time per session", "ms", &gathered.cpu),
        Figure::of(subject, "sessions per second", "/s", &gathered.rate),
        Figure::of(subject, "resumed sessions", "%", &gathered.resumed),
    ];
    let times = gathered.times.figures(subject, "time to first byte, closed loop");
    medians.into_iter().flatten().chain(times).collect()
}

/// The figures of all subjects, measured in turns.
///
/// # Errors
/// What did not work.
pub(crate) async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let mut gathered = Vec::new();
    for subject in subjects {
        round(arguments, subject).await?;
        gathered.push(Gathered {
            cpu: Vec::new(),
            rate: Vec::new(),
            resumed: Vec::new(),
            times: Times::new()?,
        });
    }
    for number in 1..=arguments.rounds {
        progress(format_args!("round {number}"));
        for (subject, gathered) in subjects.iter().zip(&mut gathered) {
            let Round { cpu, took, clients: Client { times, resumed } } = round(arguments, subject).await?;
            let sessions = f64::from(arguments.sessions);
            gathered.cpu.extend(cpu.map(|cpu| ms(cpu) / sessions));
            gathered.rate.push(sessions / took.as_secs_f64());
            if arguments.handshake == Handshake::Resumed && subject.protocol == Protocol::H1 {
                gathered.resumed.push(100.0 * f64::from(resumed) / sessions);
            }
            gathered.times.add(&times)?;
        }
    }
    let each = subjects.iter().zip(&gathered);
    Ok(each.flat_map(|(subject, gathered)| figures(&subject.name, gathered)).collect())
}

struct Round {
    cpu: Option<Duration>,
    took: Duration,
    clients: Client,
}

/// What one client saw, or all of them.
struct Client {
    times: Times,
    resumed: u32,
}

async fn round(arguments: &Arguments, subject: &Subject) -> anyhow::Result<Round> {
    let total = usize::try_from(arguments.sessions)?;
    let next = Arc::new(AtomicUsize::new(0));
    let ready = ready(arguments, subject).await?;
    let before = subject.process.map(Cpu::of).transpose()?;
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for (subject, door) in ready {
        clients.spawn(client(subject, door, Arc::clone(&next), total));
    }
    let mut all = Client { times: Times::new()?, resumed: 0 };
    while let Some(client) = clients.join_next().await {
        let Client { times, resumed } = client??;
        all.times.add(&times)?;
        all.resumed += resumed;
    }
    let took = began.elapsed();
    let after = subject.process.map(Cpu::of).transpose()?;
    let cpu = after.zip(before).map(|(after, before)| after.since(&before));
    Ok(Round { cpu, took, clients: all })
}

/// The clients before the clock starts: with a session to resume, or with a connection to share.
async fn ready(arguments: &Arguments, subject: &Subject) -> anyhow::Result<Vec<(Subject, Door)>> {
    let share = match subject.protocol {
        Protocol::H1 => 1,
        Protocol::H2 { streams } => streams.max(1),
    };
    let mut ready = Vec::new();
    let mut door = Door::Fresh;
    for number in 0..usize::try_from(arguments.clients)? {
        if number % share == 0 {
            door = Door::of(subject, number).await?;
        }
        let subject = match arguments.handshake {
            Handshake::Full => subject.clone(),
            Handshake::Resumed => subject.resuming(),
        };
        if arguments.handshake == Handshake::Resumed {
            session(&subject, &door, number).await.context("the first session of a client")?;
        }
        ready.push((subject, door.clone()));
    }
    Ok(ready)
}

async fn client(
    subject: Subject,
    door: Door,
    next: Arc<AtomicUsize>,
    total: usize,
) -> anyhow::Result<Client> {
    let mut client = Client { times: Times::new()?, resumed: 0 };
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok(client);
        }
        let (time, resumed) = session(&subject, &door, number).await?;
        client.times.record(time);
        client.resumed += u32::from(resumed);
    }
}

/// One session from start to end: the time to its first byte, and whether it resumed another.
async fn session(subject: &Subject, door: &Door, number: usize) -> anyhow::Result<(Duration, bool)> {
    let began = Instant::now();
    let mut tunnel = door.open(subject, number, Order::Echo).await?;
    tunnel.write_all(b".").await?;
    tunnel.flush().await?;
    tunnel.read_u8().await.context("the first byte")?;
    let time = began.elapsed();
    tunnel.shutdown().await?;
    // The end of the other direction: the session is over on every side before the next begins.
    let left = tunnel.read(&mut [0; 16]).await.context("the end of a session")?;
    anyhow::ensure!(left == 0, "bytes behind the last");
    Ok((time, tunnel.is_resumed()))
}
