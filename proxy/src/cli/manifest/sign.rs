//! `portcullis manifest sign`: putting a name to manifests.

use std::path::{Path, PathBuf};

use config::ManifestId;
use policy_sync::source::dir::write_manifest;
use policy_sync::{Envelope, KeyId, SignedManifest, SigningKey, sign_manifest};
use serde::Serialize;

use super::document::Document;
use super::keygen::key_id;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::write;
use crate::cli::{Printer, Table, policy, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Manifests, to be issued now; or signed ones, to which a signature is added.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyFile,
    /// Where the one signed manifest goes: `-` is standard output, absent is beside FILE.
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

/// What came of one file.
#[derive(Debug, Serialize)]
struct Made {
    manifest: String,
    file: PathBuf,
    signed_by: String,
}

/// Signs file by file; those before the first that cannot be signed stay signed.
pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    if arguments.out.is_some() && arguments.files.len() > 1 {
        return Err(Failure::usage("--out names one file, and several are to be signed")
            .help("leave --out away, or name a directory with --policy"));
    }
    let key = arguments.key.read()?;
    let mut made = Vec::with_capacity(arguments.files.len());
    for file in &arguments.files {
        let (envelope, manifest) = signed(file, &key)?;
        let line = line(&envelope);
        if arguments.out.as_deref().is_some_and(|out| out.as_os_str() == "-") {
            printer.text(&line)?;
            return Ok(Exit::Done);
        }
        let path = match &arguments.policy {
            Some(policy) => write_manifest(policy, &envelope).map_err(Failure::new)?,
            None => {
                let path = place(arguments, file);
                write::replace(&path, line.as_bytes())?;
                path
            }
        };
        made.push(Made { manifest: manifest.to_string(), file: path, signed_by: key.id().to_string() });
        if arguments.files.len() > 1 {
            printer.progress("signing", made.len(), arguments.files.len());
        }
    }
    printer.data(&made, |made| table(made))?;
    Ok(Exit::Done)
}

fn table(made: &[Made]) -> Table {
    let mut table = Table::new(["manifest", "signed by", "file"]);
    for Made { manifest, signed_by, file } in made {
        table.row([manifest, signed_by, &file.display()]);
    }
    table
}

/// What a file says, with one signature more, and the manifest's id.
fn signed(file: &Path, key: &SigningKey) -> Result<(Envelope, ManifestId), Failure> {
    let envelope = match Document::read(&settings::open(file)?)? {
        Document::Draft(draft) => sign_manifest(draft, policy::now(), key),
        Document::Signed { mut envelope, .. } => {
            envelope.add_signature(key);
            envelope
        }
        Document::Statement(_) => {
            return Err(Failure::new("the file is a revocation; `portcullis revoke` signs those"));
        }
    };
    let signed = SignedManifest::read(envelope.unverified_payload(), Vec::new()).map_err(Failure::new)?;
    Ok((envelope, signed.manifest.id))
}

/// The envelope as a file has it.
pub(crate) fn line(envelope: &Envelope) -> String {
    format!("{}\n", String::from_utf8_lossy(&envelope.to_json()))
}

fn place(arguments: &Arguments, file: &Path) -> PathBuf {
    match &arguments.out {
        Some(out) => out.clone(),
        None if file.to_string_lossy().ends_with(".dsse.json") => file.to_owned(),
        None => file.with_extension("dsse.json"),
    }
}
