//! `portcullis drill`: does a revocation reach every gateway, and how fast?
//!
//! Against a running deployment, from outside: a manifest of its own, live tunnels through every gateway to an origin of its own,
//! one revocation through the control plane's API, and a clock. It touches only what it has made: the manifest's name begins
//! with `cm-drill-`, which is looked at before every request, and it is withdrawn at the end, interrupted or not. What it
//! measures is what an agent would have been able to do after somebody decided that it must not.

mod canary;
mod origin;
mod report;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Destination, DeviceId};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control_client::WhichControl;
use super::exit::{During as _, Exit, Failure, Outcome};
use super::manifest::sign::KeyFile;
use super::{Printer, duration, write};
use canary::Canary;
use origin::Origin;
use report::Report;
use session::{Session, Way};

/// How much longer than the bound stragglers are waited for.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    control: WhichControl,
    /// The author's key that signs the drill's own manifest.
    #[command(flatten)]
    key: KeyFile,
    /// A gateway to hold tunnels through; once for each.
    #[arg(long = "gateway", value_name = "HOST:PORT", required = true)]
    gateways: Vec<String>,
    /// PEM file of the authority that issued the gateways' certificates; that of --device-ca if absent.
    #[arg(long, value_name = "FILE", required_unless_present = "device_ca")]
    gateway_ca: Option<PathBuf>,
    /// Directory of the device authority, to issue a certificate for a drill device.
    #[arg(long, value_name = "DIR", required_unless_present = "certificate")]
    device_ca: Option<PathBuf>,
    /// PEM file of a device's certificate, instead.
    #[arg(
        long,
        value_name = "FILE",
        requires = "certificate_key",
        requires = "device",
        conflicts_with = "device_ca"
    )]
    certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, value_name = "FILE")]
    certificate_key: Option<PathBuf>,
    /// The device it names.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// How gateways reach the drill's origin, which listens at --listen.
    #[arg(long, value_name = "HOST:PORT", value_parser = destination)]
    destination: Destination,
    /// Where the drill's origin listens.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:0")]
    listen: SocketAddr,
    /// How many tunnels through each gateway.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    sessions: u16,
    /// The longest time from the decision until the last byte at the origin, and until the last socket is closed.
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration::parse)]
    bound: Duration,
    /// How long the tunnels may take to open; the manifest has to reach every gateway first.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::parse)]
    patience: Duration,
    /// Writes the report to this file, as JSON, besides.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn destination(text: &str) -> Result<Destination, String> {
    Destination::parse_authority(text.as_bytes()).map_err(|fault| fault.to_string())
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::new)?;
    let mut stop = Stop::new(&runtime)?;
    let way = Arc::new(Way::new(arguments)?);
    let canary =
        Canary::new(&arguments.control, &arguments.key.read()?, way.device(), &arguments.destination)?;
    let origin = runtime.block_on(Origin::listen(arguments.listen)).during(arguments.listen)?;
    printer.note(format_args!("origin {} listens at {}", arguments.destination, origin.address));
    canary.publish()?;
    printer.note(format_args!("manifest {} is live", canary.id()));
    let drilled = drill(arguments, &runtime, &mut stop, &way, &canary, &origin, printer);
    // Whatever came of it, nothing is left behind.
    let withdrawn = canary.withdraw();
    let report = drilled?;
    withdrawn.map_err(|failure| failure.help(format_args!("withdraw {} by hand", canary.id())))?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_vec_pretty(&report).map_err(Failure::new)?;
        write::replace(path, &text)?;
    }
    printer.data(&report, Report::table)?;
    report.verdict().into_iter().for_each(|line| printer.note(line));
    Ok(if report.passed { Exit::Done } else { Exit::Failed })
}

fn drill(
    arguments: &Arguments,
    runtime: &Runtime,
    stop: &mut Stop,
    way: &Arc<Way>,
    canary: &Canary,
    origin: &Origin,
    printer: &Printer,
) -> Result<Report, Failure> {
    let sessions = runtime.block_on(stop.unless(open(arguments, way, origin, printer)))?;
    let started = origin.started();
    let decided = Instant::now();
    let receipt = canary.revoke(arguments.bound)?;
    let answered = decided.elapsed();
    let patience = arguments.bound + GRACE;
    runtime.block_on(stop.unless(async {
        let closing = futures_util::future::join_all(sessions.iter().map(Session::closed));
        // Running into the bound is the finding, not a fault.
        let _ = tokio::time::timeout(patience.saturating_sub(decided.elapsed()), closing).await;
        Ok(())
    }))?;
    let decided = decided.duration_since(started);
    let ends: Vec<_> = sessions.iter().map(|session| session.end(decided, origin)).collect();
    Ok(Report::new(canary.id(), arguments.bound, answered, receipt, &ends))
}

/// Opens every tunnel, and waits until bytes of each arrive.
async fn open(
    arguments: &Arguments,
    way: &Arc<Way>,
    origin: &Origin,
    printer: &Printer,
) -> Result<Vec<Session>, Failure> {
    let until = Instant::now() + arguments.patience;
    let wanted = arguments.gateways.len() * usize::from(arguments.sessions);
    let mut sessions = Vec::with_capacity(wanted);
    for gateway in &arguments.gateways {
        for _ in 0..arguments.sessions {
            sessions.push(Session::open(way, gateway, origin, sessions.len(), until).await?);
            printer.progress("tunnels", sessions.len(), wanted);
        }
    }
    for session in &sessions {
        if !session.arrived(origin, until).await {
            return Err(Failure::new(format_args!(
                "nothing arrives at the origin through {}",
                session.gateway()
            ))
            .help("does --destination lead the gateways to the address of --listen?"));
        }
    }
    Ok(sessions)
}

/// The user's wish to stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new(runtime: &Runtime) -> Result<Self, Failure> {
        let _entered = runtime.enter();
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
        let terminate = signal(SignalKind::terminate()).map_err(Failure::new)?;
        Ok(Self { interrupt, terminate })
    }

    /// What `work` comes to, unless the user wants to stop first.
    async fn unless<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Err(Failure::new("interrupted; the drill's manifest is withdrawn")),
            _ = self.terminate.recv() => Err(Failure::new("interrupted; the drill's manifest is withdrawn")),
            done = work => done,
        }
    }
}
