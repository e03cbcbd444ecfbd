//! What does a plain-HTTP request cost the proxy, and how long does it take?
//!
//! Clients with a connection each send small GET requests in absolute form, over and over on the same connection; the origin
//! answers with the authority that it was asked for, and every answer is checked. *Flat out*: the next request leaves when
//! the last was answered, which tells the processor time. *Open loop*: requests are due at fixed moments and counted
//! from them. Rounds with the proxies in turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::figures::{Figure, Times, ms};
use crate::origin::Watch;
use crate::pace::Pace;
use crate::plain::Client;
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::Subject;

/// How long a request may be on its way before the run has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of each client before anything counts.
const WARM_UP: u32 = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Clients, each with a connection.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Requests of each client in a round flat out.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    requests: u32,
    /// Requests a second that are due for each client in the open loop.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Requests of each client in a round of the open loop.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    due: u32,
    /// Rounds, after some requests that do not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    aim: Aim,
}

/// What the rounds of one subject gave.
struct Gathered {
    cpu: Vec<f64>,
    rate: Vec<f64>,
    open: Times,
}

/// Measures the subjects in turns.
///
/// # Errors
/// What did not work; also an answer that is not the origin's.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("http");
    let Bench { subjects, origin, started } = arguments.aim.bench(Placement::Apart, &mut report)?;
    let Arguments { clients, requests, rate, due, rounds, .. } = arguments;
    report.method(format!(
        "{rounds} rounds of GET requests by {clients} clients on connections that stay open, proxies in turns: {requests} \
         a client flat out, then {due} a client at {rate}/s, counted from the moment they were due"
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
        Figure::of(subject, "flat out, proxy processor time per 1,000 requests", "ms", &gathered.cpu),
        Figure::of(subject, "flat out, requests per second", "/s", &gathered.rate),
    ];
    let open = gathered.open.micros(subject, "open loop, request");
    flat_out.into_iter().flatten().chain(open).collect()
}

/// The figures of all subjects, measured in turns.
///
/// # Errors
/// What did not work; also a pace that cannot be kept.
pub(crate) async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let pace = Pace::new(arguments.rate, arguments.clients)?;
    let mut held = Vec::new();
    for subject in subjects {
        let mut clients = Vec::new();
        for number in 0..usize::try_from(arguments.clients)? {
            clients.push(Client::of(subject, number).await?);
        }
        let clients = flat_out(clients, WARM_UP).await?;
        held.push((subject, clients, Gathered { cpu: Vec::new(), rate: Vec::new(), open: Times::new()? }));
    }
    for number in 1..=arguments.rounds {
        progress(format_args!("round {number}"));
        for (subject, clients, gathered) in &mut held {
            let before = subject.process.map(Cpu::of).transpose()?;
            let began = Instant::now();
            let back = flat_out(std::mem::take(clients), arguments.requests).await?;
            let took = began.elapsed();
            let after = subject.process.map(Cpu::of).transpose()?;
            let requests = f64::from(arguments.requests) * f64::from(arguments.clients);
            let cpu = after.zip(before).map(|(after, before)| after.since(&before));
            gathered.cpu.extend(cpu.map(|cpu| ms(cpu) * 1e3 / requests));
            gathered.rate.push(requests / took.as_secs_f64());
            *clients = open_loop(back, arguments.due, pace, &mut gathered.open).await?;
        }
    }
    Ok(held.iter().flat_map(|(subject, _, gathered)| figures(&subject.name, gathered)).collect())
}

async fn flat_out(clients: Vec<Client>, requests: u32) -> anyhow::Result<Vec<Client>> {
    let mut going = JoinSet::new();
    for mut client in clients {
        going.spawn(async move {
            for _ in 0..requests {
                client.ask().await?;
            }
            anyhow::Ok(client)
        });
    }
    let mut back = Vec::new();
    while let Some(client) = going.join_next().await {
        back.push(client??);
    }
    Ok(back)
}

/// Sends requests when they are due. A client that still awaits an answer sends late, and that counts.
async fn open_loop(
    clients: Vec<Client>,
    due: u32,
    pace: Pace,
    times: &mut Times,
) -> anyhow::Result<Vec<Client>> {
    let mut dues = Vec::new();
    let mut going = JoinSet::new();
    for mut client in clients {
        let (due, mut when) = mpsc::channel::<Instant>(usize::try_from(due)?);
        dues.push(due);
        going.spawn(async move {
            let mut times = Times::new()?;
            while let Some(due) = when.recv().await {
                client.ask().await?;
                times.record(due.elapsed());
            }
            anyhow::Ok((client, times))
        });
    }
    let clock = std::thread::spawn(move || pace.run(&dues, due));
    let mut back = Vec::new();
    while let Some(done) = tokio::time::timeout(PATIENCE + pace.length(due), going.join_next()).await? {
        let (client, done) = done??;
        times.add(&done)?;
        back.push(client);
    }
    clock.join().map_err(|_| anyhow::anyhow!("the clock stopped"))?;
    Ok(back)
}
