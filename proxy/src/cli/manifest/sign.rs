//! `portcullis manifest sign`: putting a name to a manifest.

use std::path::PathBuf;

use policy_sync::source::dir::write_manifest;
use policy_sync::{Envelope, KeyId, SignedManifest, SigningKey, sign_manifest};
use serde_json::json;

use super::document::Document;
use super::keygen::key_id;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::write;
use crate::cli::{Printer, Table, policy, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A manifest, to be issued now; or a signed one, to which a signature is added.
    file: PathBuf,
    #[command(flatten)]
    key: KeyFile,
    /// Where the signed manifest goes: `-` is standard output, absent is beside FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    out: Option<PathBuf>,
    /// Put it into the `manifests` folder of this policy directory.
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
}

/// A private key and its name.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyFile {
    /// The private key.
    #[arg(long = "key", value_name = "FILE")]
    path: PathBuf,
    /// Its name in the key ring, unless that is the file's name without its extension.
    #[arg(long = "key-id", value_name = "NAME", value_parser = key_id)]
    id: Option<KeyId>,
}

impl KeyFile {
    pub(crate) fn new(path: PathBuf, id: Option<KeyId>) -> Self {
        Self { path, id }
    }

    pub(crate) fn read(&self) -> Result<SigningKey, Failure> {
        let named = || self.path.file_stem().and_then(|stem| KeyId::new(&stem.to_string_lossy()));
        let id = self.id.clone().or_else(named).ok_or_else(|| {
            Failure::usage(format_args!("{}: the file's name is no name of a key", self.path.display()))
                .help("give the key's name with --key-id")
        })?;
        SigningKey::read(id, &self.path).map_err(|fault| {
            Failure::configuration(fault).help("make a key with `portcullis manifest keygen`")
        })
    }
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let key = arguments.key.read()?;
    let envelope = match Document::read(&settings::open(&arguments.file)?)? {
        Document::Draft(draft) => sign_manifest(draft, policy::now(), &key),
        Document::Signed { mut envelope, .. } => {
            envelope.add_signature(&key);
            envelope
        }
        Document::Statement(_) => {
            return Err(Failure::new("the file is a revocation; `portcullis revoke` signs those"));
        }
    };
    let signed = SignedManifest::read(envelope.unverified_payload(), Vec::new()).map_err(Failure::new)?;
    let line = line(&envelope);
    if arguments.out.as_deref().is_some_and(|out| out.as_os_str() == "-") {
        printer.text(&line)?;
        return Ok(Exit::Done);
    }
    let path = match &arguments.policy {
        Some(policy) => write_manifest(policy, &envelope).map_err(Failure::new)?,
        None => {
            let path = place(arguments);
            write::replace(&path, line.as_bytes())?;
            path
        }
    };
    let made = json!({"manifest": signed.manifest.id.as_str(), "file": path, "signed_by": key.id().as_str()});
    printer.data(&made, |_| {
        let mut table = Table::default();
        table.row([&"manifest", &signed.manifest.id]);
        table.row([&"signed by", key.id()]);
        table.row([&"file", &path.display()]);
        table
    })?;
    Ok(Exit::Done)
}

/// The envelope as a file has it.
pub(crate) fn line(envelope: &Envelope) -> String {
    format!("{}\n", String::from_utf8_lossy(&envelope.to_json()))
}

fn place(arguments: &Arguments) -> PathBuf {
    match &arguments.out {
        Some(out) => out.clone(),
        None if arguments.file.to_string_lossy().ends_with(".dsse.json") => arguments.file.clone(),
        None => arguments.file.with_extension("dsse.json"),
    }
}
