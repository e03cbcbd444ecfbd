//! How does the gateway stand to others? The same scenarios, in turns, against it, the bare relay and every peer that is here.
//!
//! [`plan`] says which scenarios and how much of each, [`measured`] is what is kept of one, [`table`] and [`page`] how it
//! reads. Everybody is started anew for each scenario, so that none inherits memory from another. Whoever cannot do what a
//! scenario asks for is found out by trying it once, and is left out of that scenario with the reason.

mod measured;
mod page;
mod plan;
mod table;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::aim::{Aim, Bench, Placement};
use crate::cores;
use crate::figures::Figure;
use crate::origin::{Order, Watch};
use crate::plain::Client;
use crate::relay;
use crate::report::{Format, Report, progress};
use crate::scenario;
use crate::subject::{Hop, Subject};
use crate::tunnel::{self, Tunnel};
use measured::{Measurand, Measured, Part};
use plan::{Pace, What};

/// How long a first try may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep what comes out here: JSON for each scenario, and a picture. What is there of other scenarios stays.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Put table and pictures between the marks of this page, too.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO,...")]
    only: Vec<What>,
    /// Measure nothing: make pictures and page again from what is kept.
    #[arg(long, conflicts_with = "only")]
    redraw: bool,
    /// Only the gateway and the bare relay.
    #[arg(long, conflicts_with_all = ["peers", "peer_file", "install"])]
    no_peers: bool,
    /// So little load that the figures mean nothing: to see whether everything works.
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    aim: Aim,
}

/// Measures, keeps, and says it.
///
/// # Errors
/// What did not work. What was measured until then is kept.
pub(crate) fn run(arguments: &Arguments, bound: Duration, format: Format) -> anyhow::Result<()> {
    let Arguments { out, page, only, redraw, no_peers, brief, aim } = arguments;
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let aim = if *no_peers { aim.clone() } else { aim.beside_everyone() };
    let pace = if *brief { Pace::Brief } else { Pace::Full };
    let chosen = |what: &What| !redraw && (only.is_empty() || only.contains(what));
    for what in What::ALL.into_iter().filter(chosen) {
        progress(format_args!("== {}", what.name()));
        let measured = cores::undivided_again(|| measure(what, pace, &aim, bound));
        measured.with_context(|| what.name())?.keep(out)?;
    }
    let kept = Measured::all(out)?;
    page::draw(&kept, out)?;
    if let Some(page) = page {
        page::rewrite(page, &kept, &way(page, out))?;
    }
    let text = match format {
        Format::Table => page::block(&kept, ""),
        Format::Json => serde_json::to_string_pretty(&kept)? + "\n",
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The way from a page to a directory beside or below it.
fn way(page: &Path, out: &Path) -> String {
    let beside = page.parent().unwrap_or(Path::new(""));
    format!("{}/", out.strip_prefix(beside).unwrap_or(out).display())
}

/// One scenario, with everybody started for it.
fn measure(what: What, pace: Pace, aim: &Aim, bound: Duration) -> anyhow::Result<Measured> {
    let mut report = Report::of("compare");
    let aim = if what == What::Resumed { aim.resuming() } else { aim.clone() };
    let Bench { subjects, origin, started } = aim.bench(Placement::Apart, &mut report)?;
    report.method("everybody is measured in turns, round by round, and started anew for each scenario");
    if pace == Pace::Brief {
        report.method("so brief that the figures mean nothing");
    }
    let (subjects, figures) = crate::bounded(bound, async {
        origin.serve(&Arc::new(Watch::default()))?;
        let (able, tried) = sift(what, subjects).await;
        let figures = load(what, pace, &able).await;
        Ok((tried, figures.map_err(|fault| Bench::explain(started.as_ref(), fault))?))
    })?;
    Ok(Measured {
        what,
        options: what.options(pace).to_owned(),
        command: report.command,
        when: report.when,
        machine: report.machine.into_iter().map(|(of, value)| (of.to_owned(), value)).collect(),
        versions: report.versions,
        method: report.method,
        subjects,
        figures,
    })
}

/// Who can do what the scenario asks for, set to do it; and everybody, with the reason of those who cannot.
async fn sift(what: What, subjects: Vec<Subject>) -> (Vec<Subject>, Vec<Measurand>) {
    let (mut able, mut tried) = (Vec::new(), Vec::new());
    for (number, subject) in subjects.into_iter().enumerate() {
        let part = part(number, &subject);
        let subject = subject.over(what.protocol());
        let outcome = tokio::time::timeout(PATIENCE, attempt(what, &subject)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        let left_out = outcome.err().map(|fault| format!("{fault:#}").replace(['\r', '\n'], " "));
        tried.push(Measurand { name: subject.name.clone(), part, left_out: left_out.clone() });
        if left_out.is_none() {
            able.push(subject);
        }
    }
    (able, tried)
}

fn part(number: usize, subject: &Subject) -> Part {
    match &subject.hop {
        _ if number == 0 => Part::Gateway,
        _ if subject.name == relay::NAME => Part::Relay,
        Hop::Tls { .. } => Part::Peer,
        Hop::Plain => Part::Plain,
    }
}

/// Tries once what the scenario does often.
async fn attempt(what: What, subject: &Subject) -> anyhow::Result<()> {
    match (what, &subject.hop) {
        (What::Resumed | What::H2 | What::TransferH2, Hop::Plain) => {
            anyhow::bail!("no TLS on the side of devices")
        }
        (What::Resumed, Hop::Tls { .. }) => {
            let subject = subject.resuming();
            once(&subject).await?;
            anyhow::ensure!(once(&subject).await?.is_resumed(), "no handshake is resumed");
            Ok(())
        }
        (What::H2 | What::TransferH2, Hop::Tls { .. }) => {
            once(subject).await.map(|_| ()).context("no tunnel over HTTP/2")
        }
        (What::Http, _) => {
            let mut client = Client::of(subject, 0).await?;
            client.ask().await?;
            client.ask().await.context("a second request on the same connection")
        }
        (What::Idle | What::Connect | What::Transfer | What::Latency, _) => once(subject).await.map(|_| ()),
    }
}

/// A tunnel that has carried a byte there and back.
async fn once(subject: &Subject) -> anyhow::Result<Tunnel> {
    let mut tunnel = tunnel::open(subject, 0, Order::Echo).await?;
    tunnel.write_all(b".").await?;
    tunnel.flush().await?;
    tunnel.read_u8().await.context("the first byte")?;
    Ok(tunnel)
}

/// Lets the scenario measure the subjects.
async fn load(what: What, pace: Pace, subjects: &[Subject]) -> anyhow::Result<Vec<Figure>> {
    let options = what.options(pace);
    match what {
        What::Idle => scenario::idle::measure(&read(options)?, subjects).await,
        What::Connect | What::H2 => scenario::connect::measure(&read(options)?, subjects).await,
        What::Resumed => {
            scenario::connect::measure(&read(&format!("{options} --handshake resumed"))?, subjects).await
        }
        What::Transfer | What::TransferH2 => scenario::transfer::measure(&read(options)?, subjects).await,
        What::Latency => scenario::latency::measure(&read(options)?, subjects).await,
        What::Http => scenario::http::measure(&read(options)?, subjects).await,
    }
}

/// The arguments of a scenario from its options, as if they had been typed.
fn read<A: clap::Args>(options: &str) -> anyhow::Result<A> {
    let command = A::augment_args(clap::Command::new("scenario").no_binary_name(true));
    Ok(A::from_arg_matches(&command.try_get_matches_from(options.split_whitespace())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_takes_its_options() {
        for pace in [Pace::Full, Pace::Brief] {
            let options = |what: What| what.options(pace);
            read::<scenario::idle::Arguments>(options(What::Idle)).unwrap();
            for what in [What::Connect, What::Resumed, What::H2] {
                read::<scenario::connect::Arguments>(options(what)).unwrap();
            }
            for what in [What::Transfer, What::TransferH2] {
                read::<scenario::transfer::Arguments>(options(what)).unwrap();
            }
            read::<scenario::latency::Arguments>(options(What::Latency)).unwrap();
            read::<scenario::http::Arguments>(options(What::Http)).unwrap();
        }
    }

    #[test]
    fn a_picture_is_found_from_the_page() {
        assert_eq!(way(Path::new("docs/benchmarks.md"), Path::new("docs/benchmarks")), "benchmarks/");
        assert_eq!(way(Path::new("page.md"), Path::new("out/figures")), "out/figures/");
    }
}
