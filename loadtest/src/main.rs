//! Measures from outside what a gateway promises: `loadtest`.
//!
//! In reading order: [`scenario`] holds one file a question; [`aim`] says what is measured (a gateway that is started for
//! the run, or one that runs already), [`subject`] is that, as clients see it, and [`carriage`] how their tunnels travel.
//! [`deployment`] is the throw-away gateway, [`relay`] the bare mTLS relay that runs beside it as the yardstick, [`origin`]
//! the destination. [`tunnel`], [`stream`], [`plain`], [`link`] and [`dial`] are the client side, [`pace`] its clock, [`api`]
//! the one who orders revocations. [`process`] reads what a process cost from `/proc`, [`events`] what a gateway has written
//! down. [`peer`] is who else may be measured beside it, [`compare`] the run that measures all of them and writes a page of
//! it, [`plot`] its pictures. [`cores`] keeps proxy and load apart; [`figures`] condenses, [`machine`] and [`report`] say it.
//!
//! A black box: it knows the gateway by its sockets, files and commands only. It talks to loopback or to the proxy it is
//! pointed at, every count and time is bounded, and what it starts it stops.

mod aim;
mod api;
mod carriage;
mod compare;
mod cores;
mod deployment;
mod dial;
mod events;
mod figures;
mod link;
mod machine;
mod origin;
mod pace;
mod peer;
mod plain;
mod plot;
mod process;
mod relay;
mod report;
mod scenario;
mod stream;
mod subject;
mod tunnel;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use report::Format;

/// Measure a Portcullis gateway, or any other CONNECT proxy.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    /// How to print the report.
    #[arg(long, value_enum, default_value = "table", global = true)]
    output: Format,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, global = true)]
    limit: u64,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Memory of the proxy per idle tunnel.
    Idle(scenario::idle::Arguments),
    /// Time from a revocation to the last byte and the last socket.
    Revoke(scenario::revoke::Arguments),
    /// Processor time of a new session: handshake, CONNECT, first byte.
    Connect(scenario::connect::Arguments),
    /// Processor time of a GiB up and down.
    Transfer(scenario::transfer::Arguments),
    /// Time and processor time of small messages through busy tunnels.
    Latency(scenario::latency::Arguments),
    /// Time and processor time of plain-HTTP requests.
    Http(scenario::http::Arguments),
    /// Whether uploads stop at exactly the byte that a manifest says; fails otherwise.
    Limit(scenario::limit::Arguments),
    /// Simulated abuse by an agent: fails when an attack comes through, or is not evented.
    Redteam(scenario::redteam::Arguments),
    /// Sessions that come and go for a long time; fails when one goes wrong, or memory or descriptors rise.
    Soak(scenario::soak::Arguments),
    /// Processor time of a session beside many tunnels, and under many manifests.
    Growth(scenario::growth::Arguments),
    /// The gateway beside the bare relay and every peer that is here: a table, pictures, JSON.
    Compare(compare::Arguments),
    /// The bare mTLS relay that other scenarios measure beside the gateway.
    Relay(relay::Arguments),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(fault) => {
            report::complain(&fault);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    process::raise_descriptor_limit()?;
    let bound = Duration::from_secs(cli.limit);
    let report = match &cli.scenario {
        Scenario::Idle(arguments) => scenario::idle::run(arguments, bound)?,
        Scenario::Revoke(arguments) => scenario::revoke::run(arguments, bound)?,
        Scenario::Connect(arguments) => scenario::connect::run(arguments, bound)?,
        Scenario::Transfer(arguments) => scenario::transfer::run(arguments, bound)?,
        Scenario::Latency(arguments) => scenario::latency::run(arguments, bound)?,
        Scenario::Http(arguments) => scenario::http::run(arguments, bound)?,
        Scenario::Limit(arguments) => scenario::limit::run(arguments, bound)?,
        Scenario::Redteam(arguments) => scenario::redteam::run(arguments, bound)?,
        Scenario::Soak(arguments) => scenario::soak::run(arguments, bound)?,
        Scenario::Growth(arguments) => scenario::growth::run(arguments, bound)?,
        Scenario::Relay(arguments) => return relay::run(arguments).map(|()| ExitCode::SUCCESS),
        Scenario::Compare(arguments) => {
            return compare::run(arguments, bound, cli.output).map(|()| ExitCode::SUCCESS);
        }
    };
    report.print(cli.output)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `work` on a runtime of its own until it is done, time is up, or a signal says stop. Whatever it holds is dropped in
/// every case, child processes with it.
fn bounded<T>(bound: Duration, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminations = signal(SignalKind::terminate())?;
        tokio::select! {
            outcome = tokio::time::timeout(bound, work) => {
                outcome.with_context(|| format!("not done after {} s", bound.as_secs()))?
            }
            _ = terminations.recv() => anyhow::bail!("told to stop"),
            _ = tokio::signal::ctrl_c() => anyhow::bail!("told to stop"),
        }
    });
    runtime.shutdown_background();
    outcome
}
