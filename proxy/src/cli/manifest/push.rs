//! `portcullis manifest push`: handing signed manifests to a control plane, and approvals of those that wait.

use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use policy_sync::SignedManifest;
use policy_sync::control::api::views::{ProposedView, WrittenView};
use serde::Serialize;

use super::document::Document;
use crate::cli::control_client::{ControlClient, WhichControl};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::running::encode;
use crate::cli::{Printer, Table, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Signed manifests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    control: WhichControl,
    /// Approve them: add the signatures in the files to what waits at the control plane.
    #[arg(long)]
    approve: bool,
}

/// What became of one file.
#[derive(Debug, Serialize)]
struct Pushed {
    file: PathBuf,
    manifest: String,
    sequence: Option<u64>,
    missing: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let client = arguments.control.client()?;
    let mut pushed = Vec::new();
    for file in &arguments.files {
        match push(&client, file, arguments.approve) {
            Ok(one) => pushed.push(one),
            Err(failure) => {
                // What went before is in force; it is said before the failure is.
                printer.data(&pushed, |pushed| table(pushed))?;
                let message = format!("{}: {}", file.display(), failure.message);
                return Err(Failure { message, ..failure });
            }
        }
    }
    printer.data(&pushed, |pushed| table(pushed))?;
    Ok(Exit::Done)
}

fn push(client: &ControlClient, file: &std::path::Path, approve: bool) -> Result<Pushed, Failure> {
    let Document::Signed { envelope, .. } = Document::read(&settings::open(file)?)? else {
        return Err(Failure::new("it is no signed manifest").help("`portcullis manifest sign` signs one"));
    };
    let signed = SignedManifest::read(envelope.unverified_payload(), Vec::new()).map_err(Failure::new)?;
    let manifest = signed.manifest.id.to_string();
    let (method, path) = if approve {
        (Method::POST, format!("/api/v1/manifests/{}/approvals", encode(&manifest)))
    } else {
        (Method::PUT, "/api/v1/manifests".to_owned())
    };
    let answer = client.tell(method, &path, Some(envelope.to_json()), Duration::from_secs(30))?;
    let file = file.to_path_buf();
    if answer.status == StatusCode::ACCEPTED {
        let proposed: ProposedView = answer.data()?;
        return Ok(Pushed { file, manifest, sequence: None, missing: proposed.missing });
    }
    let written: WrittenView = answer.data()?;
    Ok(Pushed { file, manifest, sequence: Some(written.sequence), missing: Vec::new() })
}

fn table(pushed: &[Pushed]) -> Table {
    let mut table = Table::new(["FILE", "MANIFEST", "STATE"]);
    for one in pushed {
        let state = match one.sequence {
            Some(sequence) => format!("live, sequence {sequence}"),
            None => format!("waits for a signature of {}", one.missing.join(", ")),
        };
        table.row([&one.file.display(), &one.manifest, &state]);
    }
    table
}
