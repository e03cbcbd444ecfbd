//! `portcullis manifest diff`: what does the new manifest allow that the old one did not, and the other way round?

use std::path::PathBuf;

use config::ManifestDraft;
use policy_sync::linter::diff;
use serde::Serialize;

use super::document::Document;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::{Printer, Table, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The manifest as it was, signed or not.
    old: PathBuf,
    /// The manifest as it would be.
    new: PathBuf,
}

#[derive(Debug, Serialize)]
struct Difference {
    direction: &'static str,
    subject: String,
    old: String,
    new: String,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let read = |path| -> Result<ManifestDraft, Failure> {
        Document::read(&settings::open(path)?)?.manifest().cloned()
    };
    let found = diff(&read(&arguments.old)?, &read(&arguments.new)?).into_iter();
    let differences: Vec<Difference> = found
        .map(|found| Difference {
            direction: found.direction.as_str(),
            subject: found.subject,
            old: found.old,
            new: found.new,
        })
        .collect();
    printer.data(&differences, |differences| {
        let mut table = Table::new(["", "WHAT", "OLD", "NEW"]).or_say("no difference");
        for Difference { direction, subject, old, new } in differences {
            table.row([direction, subject, old, new]);
        }
        table
    })?;
    Ok(Exit::Done)
}
