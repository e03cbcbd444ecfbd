//! `portcullis gateway`: the enforcement point itself.

use std::path::PathBuf;

use super::exit::{Exit, Outcome};
use super::{log, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = settings::DEFAULT_PATH)]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let settings = settings::read(&arguments.config)?;
    log::begin("gateway.log", &settings.gateway.log, settings.gateway.log_format)?;
    proxy::run(settings, &arguments.config)?;
    Ok(Exit::Done)
}
