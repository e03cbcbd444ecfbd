//! `portcullis quickstart`: how does all of this look in action, one command away?
//!
//! Everything that a deployment has, throw-away: an authority, a gateway's and a device's certificate, signing keys, a
//! signed manifest in a policy directory, settings, an origin. The gateway is the real one, started the way
//! `portcullis gateway` starts it, and the printed commands talk to it over real sockets. All of it listens on 127.0.0.1
//! and is good for a day.

mod events;
mod files;
mod guide;
mod origin;
mod place;
mod ports;

use std::path::PathBuf;

use config::GatewaySettings;

use crate::cli::exit::{During as _, Exit, Outcome};
use crate::cli::{Printer, log, settings};
use files::Files;
use guide::Guide;
use place::Place;
use ports::Ports;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where its files go. A later run begins anew there.
    #[arg(long, value_name = "DIR", default_value = "portcullis-quickstart")]
    dir: PathBuf,
    /// Let the system pick every port, even where the usual ones are free.
    #[arg(long)]
    any_port: bool,
}

/// Runs the demo until it is interrupted.
pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let place = Place::take(&arguments.dir)?;
    let ports = Ports::find(if arguments.any_port { [0; 4] } else { Ports::USUAL })
        .during("looking for free ports")?;
    let files = Files::write(&place, &ports)?;
    origin::start(ports.origin_listener, &files.origin)?;
    let path = place.path("gateway.toml");
    let settings: GatewaySettings = settings::read(&path)?;
    log::begin("gateway.log", &settings.gateway.log, settings.gateway.log_format)?;
    let guide = Guide::new(&place, ports.origin.port());
    let events = place.path("events.jsonl");
    let (printer, mut said) = (*printer, Ok(()));
    proxy::run_announcing(settings, &path, |addresses| {
        said = printer.text(&guide.text(addresses, &printer));
        events::follow(events, printer);
    })?;
    said.map(|()| Exit::Done)
}
