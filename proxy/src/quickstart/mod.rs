//! `portcullis quickstart`: how does all of this look in action, one command away?
//!
//! Everything that a deployment has, throw-away: an authority, certificates of a gateway, a control plane and a device, signing
//! keys, a signed manifest, a token, settings, an origin. Gateway and control plane are the real ones, started the way
//! `portcullis gateway` and `portcullis control` start them, and the printed commands talk to them over real sockets. All of
//! it listens on 127.0.0.1 and is good for a day.

mod control;
mod events;
mod files;
mod guide;
mod origin;
mod place;
mod ports;

use std::path::PathBuf;

use config::GatewaySettings;

use crate::cli::exit::{During as _, Exit, Outcome};
use crate::cli::{self, Printer, log, settings};
use control::Control;
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
    let ports = Ports::find(if arguments.any_port { [0; 7] } else { Ports::USUAL })
        .during("looking for free ports")?;
    let files = Files::write(&place, &ports)?;
    let path = place.path("gateway.toml");
    let settings: GatewaySettings = settings::read(&path)?;
    log::begin("gateway.log", &settings.gateway.log, settings.gateway.log_format)?;
    let guide = Guide::new(&place, &ports);
    origin::start(ports.origin_listener, &files.origin)?;
    let control = place.path("control.toml");
    let control = Control::start(cli::control::read(&control)?, control)?;
    let events = place.path("events.jsonl");
    let printer = *printer;
    proxy::run_announcing(settings, &path, |addresses| {
        let addresses = addresses.clone();
        // The admin listener answers from the thread that called this.
        let told = std::thread::Builder::new().name("guide".into()).spawn(move || {
            if !control::reached(addresses.admin) {
                tracing::warn!("the gateway has not heard of its manifest yet");
            }
            // Nobody may be looking; the demo goes on.
            let _unseen = printer.text(&guide.text(&addresses, &printer));
            events::follow(events, printer);
        });
        if let Err(fault) = told {
            tracing::error!(%fault, "what to try is not printed");
        }
    })?;
    control.end().map(|()| Exit::Done)
}
