//! What can be asked of `portcullis` on the command line? One file per command.
//!
//! A command reads its arguments, does its work and says what came of it as an [`exit::Outcome`]; printing and the exit
//! code are decided here, in one place. Relies on the libraries for everything that is more than words: what `explain`
//! says is what the data path decides. This is the only part of the program that writes to standard output.

mod ca;
mod check;
pub(crate) mod control;
mod control_client;
mod drill;
mod duration;
pub(crate) mod exit;
mod explain;
mod gateway;
mod gateways;
pub(crate) mod log;
pub(crate) mod manifest;
mod pages;
pub(crate) mod policy;
mod print;
mod revoke;
mod revoke_control;
pub(crate) mod running;
mod sessions;
pub(crate) mod settings;
pub(crate) mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::quickstart;
pub(crate) use exit::Failure;
use exit::Outcome;
pub(crate) use print::{Format, Printer, Table};

/// A gate for autonomous agents: each reaches exactly what its signed manifest lists, uploads exactly as much as it
/// grants, and is cut off the moment that is revoked.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, max_term_width = 120, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 denied, 64 bad configuration.")]
pub(crate) struct Cli {
    /// How to print data.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a throw-away control plane, gateway, device, manifest and origin in this process, and the commands to play with them
    Quickstart(quickstart::Arguments),
    /// Run the enforcement point
    Gateway(gateway::Arguments),
    /// Run the control plane: the API for manifests and revocations, and the log that gateways follow
    Control(control::Arguments),
    /// Check settings, manifests, key rings and signed files; every problem with its line
    Check(check::Arguments),
    /// Say which rule decides about a destination, and why
    Explain(explain::Arguments),
    /// Write, check, compare and sign capability manifests
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Issue and revoke the certificates of devices, gateways and control planes
    #[command(subcommand)]
    Ca(ca::Command),
    /// Withdraw what a manifest, device, user, agent or certificate may do, now
    Revoke(revoke::Arguments),
    /// List the gateways of a control plane, and how far they follow it
    Gateways(gateways::Arguments),
    /// Rehearse a revocation against a running deployment, and report how fast every gateway was
    Drill(drill::Arguments),
    /// List the live sessions of a running gateway, or cut one
    Sessions(sessions::Arguments),
    /// Print a completion script for a shell
    Completions(pages::Completions),
    /// Print the manual page, or write one per command into a directory
    Man(pages::Man),
}

/// Reads the command line, runs the command, and says how it went.
pub(crate) fn main() -> ExitCode {
    let Cli { output, command } = Cli::parse();
    let printer = Printer::new(output);
    match run(command, &printer) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            printer.complain(&failure);
            failure.exit.into()
        }
    }
}

fn run(command: Command, printer: &Printer) -> Outcome {
    match command {
        Command::Quickstart(arguments) => quickstart::run(&arguments, printer),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::Control(arguments) => control::run(&arguments, printer),
        Command::Check(arguments) => check::run(&arguments, printer),
        Command::Explain(arguments) => explain::run(&arguments, printer),
        Command::Manifest(command) => manifest::run(&command, printer),
        Command::Ca(command) => ca::run(&command, printer),
        Command::Revoke(arguments) => revoke::run(&arguments, printer),
        Command::Gateways(arguments) => gateways::run(&arguments, printer),
        Command::Drill(arguments) => drill::run(&arguments, printer),
        Command::Sessions(arguments) => sessions::run(&arguments, printer),
        Command::Completions(arguments) => pages::completions(&arguments, printer),
        Command::Man(arguments) => pages::man(&arguments, printer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_is_for() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
