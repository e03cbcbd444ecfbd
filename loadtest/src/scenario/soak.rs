//! Does the proxy stay the same over a long time? Sessions come and go, and its memory and descriptors are looked at.
//!
//! Clients open tunnels, use them, close them in order or in the middle of something, make plain requests, and ask for what is
//! refused. Every one of these has a right outcome, and a single wrong one fails the run. So does memory, or a number of open
//! descriptors, that rises by more than stated between the end of the warm-up (a third of the time) and the end; both ends
//! are those of a straight line through all readings between them. At the end no session may be left.

mod churn;
mod trend;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::aim::{Aim, Bench, Placement, Started};
use crate::carriage::Carriage;
use crate::figures::Figure;
use crate::origin::Watch;
use crate::process::{descriptors, resident_kib};
use crate::report::{Report, progress};
use crate::subject::Subject;

use churn::{Done, Tally};

/// How long sessions may take to be over once everybody has stopped.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the proxy is asked whether they are.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long, in minutes. Give --limit more seconds than that.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Clients at the same time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Sessions that each client begins in a second, when the one before is over by then.
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Readings in all.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    readings: u32,
    /// By how many KiB resident memory may rise after the warm-up.
    #[arg(long, value_name = "KIB", default_value_t = 8192)]
    memory_rise: u32,
    /// By how many the open descriptors may rise after the warm-up, in the mean.
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    descriptor_rise: u32,
    #[command(flatten)]
    carriage: Carriage,
    #[command(flatten)]
    aim: Aim,
}

/// One look at the proxy.
#[derive(Debug, Clone, Copy)]
struct Reading {
    after: Duration,
    memory: f64,
    descriptors: f64,
}

/// Churns.
///
/// # Errors
/// What did not work. What went wrong with a session, and what rose, are faults of the report.
pub(crate) fn run(arguments: &Arguments, bound: Duration) -> anyhow::Result<Report> {
    let mut report = Report::of("soak");
    anyhow::ensure!(arguments.minutes > 0.0 && arguments.rate > 0.0, "no time, or no rate");
    let length = Duration::from_secs_f64(60.0 * arguments.minutes);
    anyhow::ensure!(
        bound > length,
        "--limit {} s is over before {} minutes are",
        bound.as_secs(),
        arguments.minutes
    );
    let Bench { subjects, origin, started } =
        arguments.aim.alone().bench(Placement::Together, &mut report)?;
    let subjects = arguments.carriage.beside(subjects);
    let Arguments { minutes, clients, rate, .. } = arguments;
    report
        .method(format!("{minutes} minutes of {clients} clients, each with up to {rate} sessions a second"));
    crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let soaked = soak(arguments, &subjects, length, &mut report).await;
        soaked.map_err(|fault| Bench::explain(started.as_ref(), fault))?;
        let left = left(started.as_ref()).await?;
        let name = &subjects.first().context("nothing to soak")?.name;
        report.figures(left.map(|left| Figure::single(name, "sessions left at the end", "", left)));
        if left.is_some_and(|left| left > 0.0) {
            report.fault("sessions are left at the end".into());
        }
        Ok(report)
    })
}

async fn soak(
    arguments: &Arguments,
    subjects: &[Subject],
    length: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let subject = subjects.first().context("nothing to soak")?;
    let pid = subject.pid()?;
    let tally = Arc::new(Tally::default());
    let began = Instant::now();
    let mut churning = JoinSet::new();
    for number in 0..usize::try_from(arguments.clients)? {
        let every = Duration::from_secs_f64(1.0 / arguments.rate);
        churning.spawn(churn::run(subjects.to_vec(), number, every, began + length, Arc::clone(&tally)));
    }
    let mut readings = Vec::new();
    for number in 1..=arguments.readings {
        let due = began + length * number / arguments.readings;
        tokio::time::sleep_until(due.into()).await;
        let (memory, descriptors) = (resident_kib(pid)? as f64, descriptors(pid)? as f64);
        readings.push(Reading { after: began.elapsed(), memory, descriptors });
        let Done { sessions, wrong } = tally.done();
        progress(format_args!(
            "{:.1} minutes: {sessions} sessions, {wrong} wrong, {memory} KiB, {descriptors} descriptors",
            began.elapsed().as_secs_f64() / 60.0
        ));
    }
    while churning.join_next().await.transpose()?.is_some() {}
    judge(arguments, &subject.name, &readings, &tally, report);
    Ok(())
}

fn judge(arguments: &Arguments, name: &str, readings: &[Reading], tally: &Tally, report: &mut Report) {
    let steady = readings.get(readings.len() / 3..).unwrap_or_default();
    let rise = |of: fn(&Reading) -> f64| {
        let points: Vec<(f64, f64)> =
            steady.iter().map(|reading| (reading.after.as_secs_f64(), of(reading))).collect();
        trend::rise(&points)
    };
    let (memory, descriptors) = (rise(|reading| reading.memory), rise(|reading| reading.descriptors));
    let Done { sessions, wrong } = tally.done();
    report.figures(Figure::of(
        name,
        "resident memory after the warm-up",
        "KiB",
        &steady.iter().map(|reading| reading.memory).collect::<Vec<_>>(),
    ));
    report.figures(Figure::of(
        name,
        "open descriptors after the warm-up",
        "",
        &steady.iter().map(|reading| reading.descriptors).collect::<Vec<_>>(),
    ));
    let figure = |what, unit, value| Figure::single(name, what, unit, value);
    report.figures([
        figure("rise of memory after the warm-up", "KiB", memory),
        figure("rise of descriptors after the warm-up", "", descriptors),
        figure("sessions", "", sessions as f64),
        figure("sessions that went wrong", "", wrong as f64),
    ]);
    for (kind, count) in tally.kinds() {
        report.figures([Figure::single(name, &format!("sessions: {kind}"), "", count as f64)]);
    }
    if memory > f64::from(arguments.memory_rise) {
        report.fault(format!("memory rose by {memory:.0} KiB"));
    }
    if descriptors > f64::from(arguments.descriptor_rise) {
        report.fault(format!("open descriptors rose by {descriptors:.0}"));
    }
    tally.faults().into_iter().for_each(|fault| report.fault(fault));
}

/// Sessions that the gateway still counts when it should count none; `None` when it cannot be asked.
async fn left(started: Option<&Started>) -> anyhow::Result<Option<f64>> {
    let Some(started) = started else { return Ok(None) };
    let began = Instant::now();
    loop {
        let live = started.deployment.live_sessions()?;
        if live == 0.0 || began.elapsed() > PATIENCE {
            return Ok(Some(live));
        }
        tokio::time::sleep(TICK).await;
    }
}
