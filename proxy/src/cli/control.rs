//! `portcullis control`: the control plane itself, and the tokens with which its API is used.

pub(crate) mod token;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use config::ControlSettings;
use proxy::Epoch;

use super::exit::{Exit, Failure, Outcome};
use super::{Printer, log, settings};

/// The settings file when none is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/portcullis/control.toml";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Begin a new epoch of the log: after it was restored from a backup, and only then. Gateways that had followed it
    /// further than the backup reaches take over what the log says now; what they know to be revoked stays revoked.
    #[arg(long)]
    new_epoch: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token for the API: prints it once, with the entry for the file of tokens
    Token(token::Arguments),
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    if let Some(Command::Token(arguments)) = &arguments.command {
        return token::run(arguments, printer);
    }
    let settings = read(&arguments.config)?;
    log::begin("control.log", &settings.control.log, settings.control.log_format)?;
    let epoch = if arguments.new_epoch { Epoch::New } else { Epoch::Kept };
    proxy::run_control(settings, &arguments.config, epoch)?;
    Ok(Exit::Done)
}

/// Reads a settings file.
pub(crate) fn read(path: &Path) -> Result<ControlSettings, Failure> {
    Ok(ControlSettings::read(&settings::open(path)?)?)
}
