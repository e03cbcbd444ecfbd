//! `portcullis sessions`: who is connected to what, right now.

use std::time::Duration;

use proxy::admin::{Cut, SessionView, Sessions};
use uuid::Uuid;

use super::exit::{Exit, Failure, Outcome};
use super::print::bytes;
use super::settings::WhichGateway;
use super::{Printer, Table, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    gateway: WhichGateway,
    /// Print the list again and again, until interrupted.
    #[arg(long, conflicts_with = "cut")]
    watch: bool,
    /// How often to print it.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse, requires = "watch")]
    every: Duration,
    /// End this session now. The agent may open another: to keep it from that, revoke.
    #[arg(long, value_name = "ID")]
    cut: Option<Uuid>,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let running = arguments.gateway.running()?;
    if let Some(session) = arguments.cut {
        let answer = running.tell(&format!("/sessions/{session}/cut"))?;
        if answer.status == 404 {
            return Err(Failure::new(format_args!("no live session {session}"))
                .help("`portcullis sessions` lists those that live"));
        }
        printer.data(&answer.data()?, cut)?;
        return Ok(Exit::Done);
    }
    loop {
        let live: Sessions = running.ask("/sessions")?;
        if arguments.watch {
            printer.clear()?;
        }
        printer.data(&live.sessions, |sessions| table(sessions))?;
        if !arguments.watch {
            return Ok(Exit::Done);
        }
        std::thread::sleep(arguments.every.max(Duration::from_millis(100)));
    }
}

fn cut(cut: &Cut) -> Table {
    let mut table = Table::new(["SESSION", "CUT", "UPLOADED"]);
    let word = if cut.sessions_cut > 0 { "cut" } else { "was ending already" };
    table.row([&cut.session, &word, &bytes(cut.upload_bytes)]);
    table
}

fn table(sessions: &[SessionView]) -> Table {
    let mut table =
        Table::new(["SESSION", "DEVICE", "AGENT", "DESTINATION", "STAGE", "UP", "DOWN", "AGE", "IDLE"])
            .or_say("no live sessions");
    for session in sessions {
        table.row([
            &session.session,
            &session.device,
            &session.agent.as_deref().unwrap_or("-"),
            &session.destination,
            &session.stage,
            &bytes(session.upload_bytes),
            &bytes(session.download_bytes),
            &duration::display(Duration::from_millis(session.age_ms)),
            &duration::display(Duration::from_millis(session.idle_ms)),
        ]);
    }
    table
}
