//! `portcullis manifest verify`: would a gateway with this key ring believe it?

use std::path::PathBuf;

use policy_sync::{Approvals, KeyRing, SignedManifest, Statement, verify_manifest, verify_statement};
use serde::Serialize;

use super::document::Document;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::{Printer, Table, policy, settings};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("ring").required(true).multiple(true).args(["keys", "config"]))]
pub(crate) struct Arguments {
    /// Signed manifests and revocations.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The key ring.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The settings of a gateway: its key ring, and the approvals it asks for.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let settings = arguments.config.as_deref().map(settings::read).transpose()?;
    let approvals =
        settings.as_ref().map(|settings| Approvals::new(&settings.policy.approval)).unwrap_or_default();
    let keys = arguments.keys.clone().or_else(|| settings.map(|settings| settings.policy.keys));
    let ring = policy::ring(&keys.ok_or_else(|| Failure::usage("name a key ring with --keys"))?)?;
    let mut verdicts = Vec::new();
    for path in &arguments.files {
        let source = settings::open(path)?;
        let held = verify(&source, &ring, &approvals);
        verdicts.push(Verdict {
            file: source.name().to_owned(),
            verified: held.is_ok(),
            ..held.unwrap_or_else(Verdict::no)
        });
    }
    let all_hold = verdicts.iter().all(|verdict| verdict.verified);
    printer.data(&verdicts, |verdicts| table(verdicts))?;
    Ok(if all_hold { Exit::Done } else { Exit::Denied })
}

/// What came of one file.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    file: String,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// `manifest`, `revocation` or `lifting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    is: Option<&'static str>,
    /// The manifest's identifier, or the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signed_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

impl Verdict {
    fn no(why: String) -> Self {
        Self { why: Some(why), ..Self::default() }
    }
}

fn verify(source: &config::Source, ring: &KeyRing, approvals: &Approvals) -> Result<Verdict, String> {
    match Document::read(source).map_err(|problems| problems.to_string())? {
        Document::Statement(envelope) => verify_statement(&envelope, ring)
            .map(|statement| of_statement(&statement))
            .map_err(|fault| fault.to_string()),
        Document::Signed { envelope, .. } => {
            verify_manifest(&envelope, ring, approvals).map(of_manifest).map_err(|fault| fault.to_string())
        }
        Document::Draft(_) => Err("it is not signed".into()),
    }
}

fn of_manifest(signed: SignedManifest) -> Verdict {
    let SignedManifest { manifest, issued_at, signers, .. } = signed;
    let life = i64::try_from(manifest.ttl.as_secs()).unwrap_or(i64::MAX);
    Verdict {
        is: Some("manifest"),
        names: Some(manifest.id.to_string()),
        signed_by: signers.iter().map(ToString::to_string).collect(),
        issued_at: Some(issued_at),
        expires_at: Some(issued_at.saturating_add(life)),
        ..Verdict::default()
    }
}

fn of_statement(statement: &Statement) -> Verdict {
    let is = match statement {
        Statement::Revoke(_) => "revocation",
        Statement::Lift(_) => "lifting",
    };
    Verdict { is: Some(is), names: Some(statement.target().to_string()), ..Verdict::default() }
}

fn table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(["FILE", "VERDICT", "IS", "NAMES", "UNTIL / WHY NOT"]);
    for Verdict { file, verified, why, is, names, expires_at, .. } in verdicts {
        let word = if *verified { "verified" } else { "refused" };
        let until = expires_at.map(policy::date).or_else(|| why.clone()).unwrap_or_default();
        table.row([file, &word, &is.unwrap_or_default(), &names.as_deref().unwrap_or_default(), &until]);
    }
    table
}
