//! How fast does a revocation take effect? From a file's rename to the last byte at the origin, and to the last socket.
//!
//! Every round has a device of its own with many live tunnels, half of them idle, half trickling an upload, beside some
//! tunnels of another device that must not notice. A revocation that was signed beforehand is renamed into the policy
//! directory. Clients, origin and rename share one clock. What is measured contains the load's own share of the
//! processor: it reads as many closings as the gateway makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::aim::Aim;
use crate::deployment::{Aimed, Deployment};
use crate::figures::{Figure, Times, ms};
use crate::origin::{Order, Origin, Watch};
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

/// What a trickling tunnel sends at a time.
const DROP: [u8; 64] = [b'.'; 64];
/// How long all tunnels may take to close before the round has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long bytes are awaited that should not come any more.
const AFTERMATH: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Live tunnels of the device that is revoked.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tunnels: u32,
    /// Live tunnels of another device.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    bystanders: u32,
    /// How often it is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// What the revocation names.
    #[arg(long, value_enum, default_value = "device")]
    aimed: Aimed,
    /// Milliseconds between two writes of a trickling tunnel.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every: u64,
    #[command(flatten)]
    aim: Aim,
}

/// One round: the device's tunnels-to-be, and the revocation that waits beside the policy.
struct Prepared {
    target: Subject,
    file: std::path::PathBuf,
}

/// What a round gave, counted from the rename.
struct Round {
    last_byte: Duration,
    last_socket: Duration,
    closings: Times,
    cpu: Duration,
}

/// Measures round by round.
///
/// # Errors
/// What did not work; also when a tunnel of the revoked device stays open, or one of another device does not.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("revoke");
    let origin = Origin::bind()?;
    let mut deployment = arguments.aim.deployment(&origin, &mut report)?;
    progress("signing");
    let (bystander, rounds) = prepare(arguments, &mut deployment)?;
    let Arguments { tunnels, bystanders, every, .. } = arguments;
    report.method(format!(
        "{tunnels} tunnels of the revoked device, every second one writing every {every} ms; {bystanders} of another"
    ));
    report.method("proxy, clients and origin share all cores");
    crate::bounded(bound, async {
        let watch = Arc::new(Watch::default());
        origin.serve(&watch)?;
        let measured = measure(arguments, &deployment, &bystander, &rounds, &watch).await;
        let log = || format!("the end of the gateway's log:\n{}", deployment.log());
        report.figures(measured.with_context(log)?);
        Ok(report)
    })
}

/// Issues and signs everything before the gateway starts, so that nothing but the rename happens in a round.
fn prepare(arguments: &Arguments, deployment: &mut Deployment) -> anyhow::Result<(Subject, Vec<Prepared>)> {
    let bystander = deployment.device("bystander")?;
    let mut rounds = Vec::new();
    for number in 0..=arguments.rounds {
        let device = format!("device-{number}");
        rounds.push((deployment.device(&device)?, deployment.staged_revocation(arguments.aimed, &device)?));
    }
    progress("starting the gateway");
    let bystander = deployment.start(bystander)?;
    let prepared = rounds.into_iter().map(|(tls, file)| Prepared { target: bystander.as_device(tls), file });
    let prepared = prepared.collect();
    Ok((bystander, prepared))
}

async fn measure(
    arguments: &Arguments,
    deployment: &Deployment,
    bystander: &Subject,
    rounds: &[Prepared],
    watch: &Arc<Watch>,
) -> anyhow::Result<Vec<Figure>> {
    let count = usize::try_from(arguments.bystanders)?;
    let mut others = tunnel::open_many(bystander, count, Order::Echo).await?;
    let (mut bytes, mut sockets, mut closings) = (Times::new()?, Times::new()?, Times::new()?);
    let mut cpu = Vec::new();
    // The first round warms up and does not count.
    for (number, prepared) in rounds.iter().enumerate() {
        progress(format_args!("round {number}"));
        let round = round(arguments, deployment, prepared, watch).await;
        let round = round.with_context(|| format!("round {number}"))?;
        for other in &mut others {
            alive(other).await.with_context(|| format!("a tunnel of another device, in round {number}"))?;
        }
        if number > 0 {
            bytes.record(round.last_byte);
            sockets.record(round.last_socket);
            closings.add(&round.closings)?;
            cpu.push(ms(round.cpu));
        }
    }
    let subject = &bystander.name;
    let mut figures = bytes.figures(subject, "rename to last byte at the origin");
    figures.extend(sockets.figures(subject, "rename to last socket closed"));
    figures.extend(closings.figures(subject, "rename to a socket closed, over all tunnels"));
    figures.extend(Figure::of(subject, "gateway processor time of a revocation", "ms", &cpu));
    let survivors = others.len() as f64;
    figures.push(Figure::single(subject, "tunnels of another device that live on", "", survivors));
    Ok(figures)
}

async fn round(
    arguments: &Arguments,
    deployment: &Deployment,
    prepared: &Prepared,
    watch: &Arc<Watch>,
) -> anyhow::Result<Round> {
    let count = usize::try_from(arguments.tunnels)?;
    let pid = prepared.target.pid()?;
    let tunnels = tunnel::open_many(&prepared.target, count, Order::Watch).await?;
    let every = Duration::from_millis(arguments.every);
    let trickled = Arc::new(AtomicUsize::new(0));
    let (closed, mut closings) = mpsc::channel(count);
    let mut holding = JoinSet::new();
    for (number, tunnel) in tunnels.into_iter().enumerate() {
        let closed = closed.clone();
        if number % 2 == 0 {
            holding.spawn(hold(tunnel, closed));
        } else {
            // Spread over the interval, so that at every moment some tunnel is just about to write.
            let offset = every.mul_f64(number as f64 / count as f64);
            holding.spawn(trickle(tunnel, every, offset, closed, Arc::clone(&trickled)));
        }
    }
    drop(closed);
    let tricklers = count / 2;
    let flowing = async {
        while trickled.load(Ordering::SeqCst) < tricklers {
            tokio::time::sleep(every).await;
        }
        tokio::time::sleep(3 * every).await;
    };
    tokio::time::timeout(PATIENCE, flowing).await.context("the tunnels do not trickle")?;
    ensure!(closings.try_recv().is_err(), "a tunnel closed before the revocation");

    let name = prepared.file.file_name().context("a revocation without a name")?;
    let place = deployment.revocations().join(name);
    let before = Cpu::of(pid)?;
    let renamed = Instant::now();
    std::fs::rename(&prepared.file, place)?;
    let mut times = Times::new()?;
    let mut last_socket = Duration::ZERO;
    let all_closed = async {
        for _ in 0..count {
            let closed: Instant = closings.recv().await.context("a tunnel was lost")?;
            let after = closed.saturating_duration_since(renamed);
            times.record(after);
            last_socket = last_socket.max(after);
        }
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(PATIENCE, all_closed).await;
    outcome.context("tunnels of the revoked device stay open")??;
    let cpu = Cpu::of(pid)?.since(&before);
    tokio::time::sleep(AFTERMATH).await;
    let last_byte = watch.last().saturating_duration_since(renamed);
    ensure!(tunnel::open(&prepared.target, 0, Order::Watch).await.is_err(), "the revoked device got back in");
    Ok(Round { last_byte, last_socket, closings: times, cpu })
}

/// Holds an idle tunnel until it closes, and says when it did.
async fn hold(mut tunnel: Tunnel, closed: mpsc::Sender<Instant>) {
    // An error is a closing too: a revoked tunnel is reset.
    let _end = tunnel.read(&mut [0; 16]).await;
    let _round_over = closed.send(Instant::now()).await;
}

/// The same, writing a little now and then.
async fn trickle(
    mut tunnel: Tunnel,
    every: Duration,
    offset: Duration,
    closed: mpsc::Sender<Instant>,
    trickled: Arc<AtomicUsize>,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    let mut unread = [0; 16];
    loop {
        tokio::select! {
            biased;
            _end = tunnel.read(&mut unread) => break,
            _ = ticks.tick() => {
                let written = async { tunnel.write_all(&DROP).await?; tunnel.flush().await };
                if written.await.is_err() {
                    break;
                }
                if std::mem::take(&mut first) {
                    trickled.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
    let _round_over = closed.send(Instant::now()).await;
}

/// One byte there and back.
async fn alive(tunnel: &mut Tunnel) -> anyhow::Result<()> {
    let there_and_back = async {
        tunnel.write_all(b"?").await?;
        tunnel.flush().await?;
        tunnel.read_u8().await
    };
    tokio::time::timeout(PATIENCE, there_and_back).await.context("no echo")??;
    Ok(())
}
