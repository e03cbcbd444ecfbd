//! How much memory does an idle tunnel cost the proxy?
//!
//! Opens many tunnels, reads the resident memory of the proxy, sends some bytes through each and back, reads it again.
//! What the proxy holds anyway is taken off: it is read after a first lot of tunnels has come and gone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement};
use crate::carriage::Carriage;
use crate::figures::Figure;
use crate::origin::{Order, Watch};
use crate::process::resident_kib;
use crate::report::{Report, progress};
use crate::subject::Subject;
use crate::tunnel::{self, Tunnel};

/// Tunnels that come and go before the first reading.
const WARM_UP: usize = 200;
/// Tunnels that move their bytes at once.
const AT_ONCE: usize = 16;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Tunnels to hold.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tunnels: u32,
    /// Bytes that go through each tunnel and back before the last reading.
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    bytes: u32,
    /// How long the proxy may tidy up before a reading, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=300))]
    settle: u64,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// Measures every subject, one after the other.
///
/// # Errors
/// What did not work.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("idle");
    let Bench { subjects, origin, started } = arguments.aim.bench(Placement::Together, &mut report)?;
    let subjects = arguments.carriage.instead(subjects);
    arguments.carriage.said().into_iter().for_each(|line| report.method(line));
    let Arguments { tunnels, bytes, settle, .. } = arguments;
    report.method(format!(
        "{tunnels} idle tunnels; read before and after {bytes} bytes went through each and back, {settle} s later"
    ));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let figures = measure(arguments, &subjects).await;
        report.figures(figures.map_err(|fault| Bench::explain(started.as_ref(), fault))?);
        Ok(report)
    })
}

/// The figures of all subjects, one after the other.
///
/// # Errors
/// What did not work.
pub(crate) async fn measure(arguments: &Arguments, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for subject in subjects {
        figures.extend(hold(arguments, subject).await?);
    }
    Ok(figures)
}

async fn hold(arguments: &Arguments, subject: &Subject) -> anyhow::Result<Vec<Figure>> {
    let pid = subject.pid()?;
    let count = usize::try_from(arguments.tunnels)?;
    let bytes = usize::try_from(arguments.bytes)?;
    let settle = Duration::from_secs(arguments.settle);
    let read = async || {
        tokio::time::sleep(settle).await;
        resident_kib(pid)
    };
    progress(format_args!("{}: warming up", subject.name));
    let first = tunnel::open_many(subject, WARM_UP, Order::Echo).await?;
    drop(through_all(first, bytes).await?);
    let empty = read().await?;
    progress(format_args!("{}: opening {count} tunnels", subject.name));
    let tunnels = tunnel::open_many(subject, count, Order::Echo).await?;
    let opened = read().await?;
    progress(format_args!("{}: {bytes} bytes through each", subject.name));
    let tunnels = through_all(tunnels, bytes).await?;
    let used = read().await?;
    drop(tunnels);
    let per_tunnel = |kib: u64| kib.saturating_sub(empty) as f64 / f64::from(arguments.tunnels);
    let figure = |name, unit, value| Figure::single(&subject.name, name, unit, value);
    Ok(vec![
        figure("resident per tunnel, before use", "KiB", per_tunnel(opened)),
        figure("resident per tunnel, after use", "KiB", per_tunnel(used)),
        figure("resident without tunnels", "KiB", empty as f64),
        figure("resident with all tunnels, after use", "KiB", used as f64),
    ])
}

/// Sends bytes through every tunnel and waits for them to come back.
async fn through_all(tunnels: Vec<Tunnel>, bytes: usize) -> anyhow::Result<Vec<Tunnel>> {
    let mut moving = JoinSet::new();
    let mut moved = Vec::with_capacity(tunnels.len());
    for tunnel in tunnels {
        if moving.len() >= AT_ONCE {
            moved.extend(moving.join_next().await.transpose()?.transpose()?);
        }
        moving.spawn(through(tunnel, bytes));
    }
    while let Some(tunnel) = moving.join_next().await {
        moved.push(tunnel??);
    }
    Ok(moved)
}

async fn through(tunnel: Tunnel, bytes: usize) -> anyhow::Result<Tunnel> {
    let (mut reader, mut writer) = tokio::io::split(tunnel);
    let (there, mut back) = (vec![b'.'; bytes], vec![0; bytes]);
    let send = async {
        writer.write_all(&there).await?;
        writer.flush().await
    };
    tokio::try_join!(send, reader.read_exact(&mut back)).context("bytes through an idle tunnel")?;
    Ok(reader.unsplit(writer))
}
