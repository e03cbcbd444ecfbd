//! How fast does a revocation take effect? From a file's rename, or from a call of the API, to the last byte at the origin,
//! to the answer, and to the last socket.
//!
//! Every round has a device of its own with many live tunnels, half of them idle, half trickling an upload, beside some
//! tunnels of another device that must not notice, and perhaps some that upload as fast as they can. A revocation that
//! was signed beforehand is renamed into the policy directory, or ordered from a control plane that is started beside the
//! gateway. Clients, origin and order share one clock. What is measured contains the load's own share of the processor:
//! it reads as many closings as the gateway makes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::aim::Aim;
use crate::api::Api;
use crate::deployment::{Aimed, Deployment};
use crate::figures::{Figure, Times, ms};
use crate::origin::{Order, Origin, PIECE, Watch};
use crate::process::Cpu;
use crate::report::{Report, progress};
use crate::subject::{Protocol, Subject};
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
    /// How the gateway learns of it.
    #[arg(long, value_enum, default_value = "file")]
    through: Through,
    /// Tunnels of another device that upload as fast as they can all the while.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    load: u32,
    /// Milliseconds between two writes of a trickling tunnel.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every: u64,
    /// Tunnels of the revoked device that share an HTTP/2 connection; each has a connection of its own without this.
    #[arg(long, value_name = "TUNNELS", value_parser = clap::value_parser!(u16).range(1..=1000))]
    streams: Option<u16>,
    #[command(flatten)]
    aim: Aim,
}

/// How a gateway learns of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Through {
    /// A file in its policy directory.
    File,
    /// A control plane's API.
    Api,
}

impl Through {
    /// What the times are counted from.
    fn start(self) -> &'static str {
        match self {
            Self::File => "rename",
            Self::Api => "API call",
        }
    }
}

/// One round: the device's tunnels-to-be, and the revocation.
struct Prepared {
    target: Subject,
    revocation: Revocation,
}

/// A revocation that has not happened yet.
#[derive(Clone)]
enum Revocation {
    /// A signed file that waits beside the policy, and its place in it.
    File(PathBuf, PathBuf),
    /// What the API is asked.
    Order(Value),
}

/// What a round gave, counted from the rename or the call.
struct Round {
    last_byte: Duration,
    answered: Option<Answered>,
    last_socket: Duration,
    closings: Times,
    cpu: Duration,
    /// Of the control plane.
    control_cpu: Option<Duration>,
}

/// What the API said, and when.
struct Answered {
    after: Duration,
    /// From the arrival at the gateway until no touched session could write, as the gateway says.
    enforced: Duration,
}

/// Measures round by round.
///
/// # Errors
/// What did not work; also when a tunnel of the revoked device stays open, or one of another device does not.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("revoke");
    let origin = Origin::bind()?;
    let mut deployment = arguments.aim.deployment(&origin, &mut report)?;
    if arguments.through == Through::Api {
        progress("starting the control plane");
        deployment.under_control(&origin)?;
        report.method("revoked through the API of a control plane with an embedded log, beside the gateway");
    }
    if arguments.load > 0 {
        report.method(format!("{} tunnels of another device upload as fast as they can", arguments.load));
    }
    progress("signing");
    let (bystander, rounds) = prepare(arguments, &mut deployment)?;
    if let Some(streams) = arguments.streams {
        report.method(format!("{streams} tunnels of the revoked device share an HTTP/2 connection"));
    }
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
        let tls = deployment.device(&device)?;
        let revocation = match arguments.through {
            Through::File => {
                let file = deployment.staged_revocation(arguments.aimed, &device)?;
                let name = file.file_name().context("a revocation without a name")?;
                let place = deployment.revocations().join(name);
                Revocation::File(file, place)
            }
            Through::Api => Revocation::Order(deployment.order(arguments.aimed, &device)?),
        };
        rounds.push((tls, revocation));
    }
    progress("starting the gateway");
    let bystander = deployment.start(bystander)?;
    let protocol = match arguments.streams {
        Some(streams) => Protocol::H2 { streams: usize::from(streams) },
        None => Protocol::H1,
    };
    let prepare =
        |(tls, revocation)| Prepared { target: bystander.as_device(tls).over(protocol), revocation };
    let prepared = rounds.into_iter().map(prepare).collect();
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
    let _load = load(bystander, usize::try_from(arguments.load)?).await?;
    let (mut bytes, mut sockets, mut closings) = (Times::new()?, Times::new()?, Times::new()?);
    let (mut answers, mut enforced) = (Times::new()?, Times::new()?);
    let (mut cpu, mut control_cpu) = (Vec::new(), Vec::new());
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
            control_cpu.extend(round.control_cpu.map(ms));
            if let Some(answered) = round.answered {
                answers.record(answered.after);
                enforced.record(answered.enforced);
            }
        }
    }
    let (subject, start) = (&bystander.name, arguments.through.start());
    let mut figures = bytes.figures(subject, &format!("{start} to last byte at the origin"));
    if arguments.through == Through::Api {
        figures.extend(
            enforced.figures(subject, "arrival at the gateway until nothing is written, as receipted"),
        );
        figures.extend(answers.figures(subject, &format!("{start} to its answer")));
    }
    figures.extend(sockets.figures(subject, &format!("{start} to last socket closed")));
    figures.extend(closings.figures(subject, &format!("{start} to a socket closed, over all tunnels")));
    figures.extend(Figure::of(subject, "gateway processor time of a revocation", "ms", &cpu));
    figures.extend(Figure::of(subject, "control plane processor time of a revocation", "ms", &control_cpu));
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

    let mut api = match &prepared.revocation {
        Revocation::File(..) => None,
        Revocation::Order(_) => Some(deployment.control()?.api()?),
    };
    let before = Cpu::of(pid)?;
    let control_before = api.is_some().then(|| control_cpu(deployment)).transpose()?;
    let revocation = prepared.revocation.clone();
    let revoking = tokio::task::spawn_blocking(move || revoke(&revocation, api.as_mut()));
    let mut closed_at = Vec::with_capacity(count);
    let all_closed = async {
        for _ in 0..count {
            closed_at.push(closings.recv().await.context("a tunnel was lost")?);
        }
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(PATIENCE, all_closed).await;
    outcome.context("tunnels of the revoked device stay open")??;
    let cpu = Cpu::of(pid)?.since(&before);
    let control_now = control_before.is_some().then(|| control_cpu(deployment)).transpose()?;
    let control_cpu = control_now.zip(control_before).map(|(now, before)| now.since(&before));
    let (started, answer) = revoking.await??;
    let mut times = Times::new()?;
    let mut last_socket = Duration::ZERO;
    for closed in closed_at {
        let after = closed.saturating_duration_since(started);
        times.record(after);
        last_socket = last_socket.max(after);
    }
    let answered = answer.map(|(after, receipt)| answered(after, &receipt, count)).transpose()?;
    tokio::time::sleep(AFTERMATH).await;
    let last_byte = watch.last().saturating_duration_since(started);
    ensure!(tunnel::open(&prepared.target, 0, Order::Watch).await.is_err(), "the revoked device got back in");
    Ok(Round { last_byte, answered, last_socket, closings: times, cpu, control_cpu })
}

fn control_cpu(deployment: &Deployment) -> anyhow::Result<Cpu> {
    Cpu::of(deployment.control()?.pid())
}

/// Revokes, and says when that began; of the API also how long the answer took, and what it was.
fn revoke(
    revocation: &Revocation,
    api: Option<&mut Api>,
) -> anyhow::Result<(Instant, Option<(Duration, Value)>)> {
    match revocation {
        Revocation::File(file, place) => {
            let started = Instant::now();
            std::fs::rename(file, place)?;
            Ok((started, None))
        }
        Revocation::Order(order) => {
            let (api, order) = (api.context("an order needs the API")?, order.to_string());
            let started = Instant::now();
            let receipt = api.done("POST", "/api/v1/revoke?wait_ms=10000", order.as_bytes())?;
            Ok((started, Some((started.elapsed(), receipt))))
        }
    }
}

/// What the receipt says of the one gateway.
fn answered(after: Duration, receipt: &Value, count: usize) -> anyhow::Result<Answered> {
    let applied =
        receipt["applied"].get(0).with_context(|| format!("no gateway has applied it: {receipt}"))?;
    ensure!(applied["sessions_cut"] == count, "not every tunnel is in the receipt: {receipt}");
    let enforced = applied["latency_ms"].as_f64().context("a receipt without a latency")?;
    Ok(Answered { after, enforced: Duration::from_secs_f64(enforced / 1e3) })
}

/// Tunnels that upload as fast as they can until they are dropped.
async fn load(subject: &Subject, count: usize) -> anyhow::Result<JoinSet<()>> {
    let mut pouring = JoinSet::new();
    for mut tunnel in tunnel::open_many(subject, count, Order::Take(u64::MAX)).await? {
        pouring.spawn(async move {
            let block = vec![b'.'; PIECE];
            while tunnel.write_all(&block).await.is_ok() {}
        });
    }
    Ok(pouring)
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
