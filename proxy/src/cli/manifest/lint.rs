//! `portcullis manifest lint`: is it a manifest, and is it a wise one?
//!
//! What a gateway would refuse is a problem. What it would take, although its author may not mean it, is found by the
//! linter, which asks the rules of the data path themselves.

use std::path::PathBuf;

use config::{ManifestDraft, Problem, Problems};
use policy_sync::PolicyBounds;
use policy_sync::linter::{Weight, lint};
use serde::Serialize;

use super::document::Document;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::{Printer, Table, policy, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Manifests, signed or not.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fail on warnings too, and not only on mistakes.
    #[arg(long)]
    strict: bool,
    /// The settings of a gateway, for what it imposes on every manifest.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// One thing to look at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Remark {
    /// `problem`: no gateway takes it. `mistake`: it does not do what it says. `warning`: it allows more than most need.
    /// `note`: good to know.
    weight: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: String,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let settings = arguments.config.as_deref().map(settings::read).transpose()?;
    let bounds = policy::bounds(settings.as_ref());
    let mut problems = Problems::default();
    let mut remarks = Vec::new();
    for path in &arguments.files {
        let source = settings::open(path)?;
        match Document::read(&source) {
            Ok(document) => remarks.extend(findings(source.name(), document.manifest()?, &bounds)),
            Err(found) => {
                remarks.extend(found.iter().map(problem));
                problems.extend(found);
            }
        }
    }
    printer.data(&remarks, |remarks| {
        let mut table = Table::new(["", "FILE", "FIELD", ""]).or_say("nothing to remark");
        for Remark { weight, file, field, message, .. } in remarks {
            table.row([weight, file, field, message]);
        }
        table
    })?;
    if !problems.is_empty() {
        printer.note(&problems);
    }
    let fails = |remark: &Remark| match remark.weight {
        "problem" | "mistake" => true,
        "warning" => arguments.strict,
        _ => false,
    };
    Ok(if remarks.iter().any(fails) { Exit::Denied } else { Exit::Done })
}

fn problem(problem: &Problem) -> Remark {
    let Problem { file, line, path, message, .. } = problem.clone();
    Remark { weight: "problem", file, line: Some(line), field: path, code: None, message }
}

fn findings(file: &str, draft: &ManifestDraft, bounds: &PolicyBounds) -> Vec<Remark> {
    let remark = |finding: policy_sync::linter::Finding| Remark {
        weight: word(finding.weight),
        file: file.to_owned(),
        line: None,
        field: finding.path,
        code: Some(finding.code.as_str()),
        message: finding.message,
    };
    lint(draft, bounds).into_iter().map(remark).collect()
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Note => "note",
        Weight::Warning => "warning",
        Weight::Mistake => "mistake",
    }
}
