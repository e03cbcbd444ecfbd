//! `portcullis manifest`: writing, checking, comparing and signing what an agent may do.

mod diff;
pub(crate) mod document;
pub(crate) mod keygen;
mod lint;
mod new;
mod push;
pub(crate) mod sign;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::exit::{Exit, Outcome};
use super::{Printer, settings};
use document::Document;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a manifest to begin with
    New(new::Arguments),
    /// Check manifests, and point at what is allowed but unwise
    Lint(lint::Arguments),
    /// Say what differs between two manifests
    Diff(diff::Arguments),
    /// Sign a manifest, or add a signature to a signed one
    Sign(sign::Arguments),
    /// Hand signed manifests to a control plane, or approve those that wait there
    Push(push::Arguments),
    /// Check the signatures of a signed manifest or revocation
    Verify(verify::Arguments),
    /// Print what a manifest says, signed or not, in canonical form
    Show(Show),
    /// Print the JSON Schema of manifests, for editors
    Schema,
    /// Make a signing key, and its entry for the key ring
    Keygen(keygen::Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A manifest, signed or not.
    file: PathBuf,
}

pub(crate) fn run(command: &Command, printer: &Printer) -> Outcome {
    match command {
        Command::New(arguments) => new::run(arguments, printer),
        Command::Lint(arguments) => lint::run(arguments, printer),
        Command::Diff(arguments) => diff::run(arguments, printer),
        Command::Sign(arguments) => sign::run(arguments, printer),
        Command::Push(arguments) => push::run(arguments, printer),
        Command::Verify(arguments) => verify::run(arguments, printer),
        Command::Show(arguments) => show(arguments, printer),
        Command::Schema => {
            printer.json(&config::manifest_schema())?;
            Ok(Exit::Done)
        }
        Command::Keygen(arguments) => keygen::run(arguments, printer),
    }
}

fn show(arguments: &Show, printer: &Printer) -> Outcome {
    let document = Document::read(&settings::open(&arguments.file)?)?;
    if let Document::Signed { .. } = document {
        printer.note("note: signatures are not checked here; `portcullis manifest verify` does that");
    }
    printer.json(&document.to_value()?)?;
    Ok(Exit::Done)
}
