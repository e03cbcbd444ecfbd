//! `portcullis manifest lint`: is it a manifest, and is it a wise one?
//!
//! What a gateway would refuse is a problem. What it would take, but somebody should look at, is advice. Whether an entry
//! can ever decide is asked of the rules themselves.

use std::path::PathBuf;
use std::time::Duration;

use config::{
    AllowEntry, Destination, Host, HostPattern, Limit, ManifestDraft, Match, Mode, Problem, Problems, Rules,
    TlsExpectation,
};
use serde::Serialize;

use super::document::Document;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::{Printer, Table, duration, settings};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Manifests, signed or not.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Treat advice as a reason to fail.
    #[arg(long)]
    strict: bool,
}

/// One thing to look at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Remark {
    /// `problem`: no gateway takes it. `advice`: it works, and somebody should look at it.
    is: &'static str,
    file: String,
    line: usize,
    field: String,
    says: String,
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let mut problems = Problems::default();
    let mut remarks = Vec::new();
    for path in &arguments.files {
        let source = settings::open(path)?;
        match Document::read(&source) {
            Ok(document) => remarks.extend(advice(source.name(), document.manifest()?)),
            Err(found) => {
                remarks.extend(found.iter().map(problem));
                problems.extend(found);
            }
        }
    }
    printer.data(&remarks, |remarks| {
        let mut table = Table::new(["", "FILE", "FIELD", ""]).or_say("nothing to remark");
        for Remark { is, file, field, says, .. } in remarks {
            table.row([is, file, field, says]);
        }
        table
    })?;
    if !problems.is_empty() {
        printer.note(&problems);
        return Ok(Exit::Denied);
    }
    Ok(if arguments.strict && !remarks.is_empty() { Exit::Denied } else { Exit::Done })
}

fn problem(problem: &Problem) -> Remark {
    let Problem { file, line, path, message, .. } = problem.clone();
    Remark { is: "problem", file, line, field: path, says: message }
}

fn advice(file: &str, draft: &ManifestDraft) -> Vec<Remark> {
    let remarks = look(draft).into_iter();
    remarks
        .map(|(field, says)| Remark { is: "advice", file: file.to_owned(), line: 0, field, says })
        .collect()
}

fn look(draft: &ManifestDraft) -> Vec<(String, String)> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let network = &draft.network;
    let mut remarks = Vec::new();
    let mut remark = |field: &str, advice: &str| remarks.push((field.to_owned(), advice.to_owned()));
    if draft.ttl > DAY {
        remark(
            "ttl_seconds",
            &format!("{} is long: gateways cap it, 24 h by default", duration::display(draft.ttl)),
        );
    }
    if network.allow.is_empty() && network.mode == Mode::Enforce {
        remark("capabilities.network.allow", "nothing is listed, so nothing can be reached");
    }
    if network.mode == Mode::Report {
        remark(
            "capabilities.network.mode",
            "destinations off the list are let through where the gateway permits it",
        );
    }
    for (field, limit) in [
        ("upload_bytes_per_session", network.upload_bytes_per_session),
        ("upload_bytes", network.upload_bytes),
    ] {
        if limit == Some(Limit::Unlimited) {
            remark(
                &format!("capabilities.network.{field}"),
                "uploads without limit can carry everything out",
            );
        }
    }
    if draft.filesystem.is_some() || draft.secrets.is_some() {
        remark(
            "capabilities",
            "filesystem and secrets are for the agent's runtime to enforce; a gateway only carries them",
        );
    }
    let rules = Rules::compile(network);
    for (at, entry) in network.allow.iter().enumerate() {
        let field = format!("capabilities.network.allow[{at}]");
        remarks.extend(look_at_entry(entry, &rules).into_iter().map(|advice| (field.clone(), advice)));
    }
    remarks
}

fn look_at_entry(entry: &AllowEntry, rules: &Rules) -> Vec<String> {
    let mut remarks = Vec::new();
    let (port, _) = entry.pattern.ports.bounds();
    if let Some(host) = exact(&entry.pattern.host)
        && let Some(port) = std::num::NonZeroU16::new(port)
    {
        match rules.matching(&Destination::new(host, port)) {
            Match::Allow(_) => {}
            Match::Tie => {
                remarks.push("an equally specific entry of `deny` cancels it: a tie is a denial".into())
            }
            Match::Deny(pattern) => {
                remarks.push(format!("the more specific `deny` entry {pattern} cancels it"))
            }
            Match::Unlisted => remarks.push("it matches nothing".into()),
        }
    }
    if matches!(entry.pattern.host, HostPattern::Suffix(_)) {
        remarks.push("a wildcard: whoever can name a host below it can receive data there".into());
    }
    if matches!(entry.pattern.host, HostPattern::Network(_)) {
        remarks.push(
            "an address or network: it matches destinations that are given as addresses, never names".into(),
        );
    }
    if entry.expected_tls(port) == TlsExpectation::None && port == 443 {
        remarks.push("`tls: none` on 443: the name inside TLS is not compared with the destination".into());
    }
    if entry.upload_bytes == Some(Limit::Unlimited)
        || entry.upload_bytes_per_session == Some(Limit::Unlimited)
    {
        remarks.push("uploads to it have no limit of its own".into());
    }
    remarks
}

fn exact(pattern: &HostPattern) -> Option<Host> {
    match pattern {
        HostPattern::Exact(name) => Some(Host::Name(name.clone())),
        HostPattern::Network(network) => Some(Host::Ip(network.addr())),
        HostPattern::Suffix(_) | HostPattern::Any => None,
    }
}

/// For tests of the examples: what would be remarked on.
#[cfg(test)]
fn fields(text: &str) -> Vec<String> {
    let draft = ManifestDraft::read(&config::Source::new("m.yaml", text)).unwrap();
    look(&draft).into_iter().map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(network: &str) -> String {
        format!(
            "agent: a\nidentity: {{user: u, device: d}}\ncapabilities: {{network: {{{network}}}}}\nttl_seconds: 60\n"
        )
    }

    #[test]
    fn a_plain_manifest_needs_no_advice() {
        assert!(fields(&manifest("allow: [a.example, b.example]")).is_empty());
    }

    #[test]
    fn what_is_unwise_is_remarked_on() {
        for (network, field) in [
            ("allow: []", "capabilities.network.allow"),
            ("allow: [a.example], mode: report", "capabilities.network.mode"),
            ("allow: [a.example], upload_bytes: unlimited", "capabilities.network.upload_bytes"),
            ("allow: ['*.a.example']", "capabilities.network.allow[0]"),
            ("allow: [a.example], deny: ['a.example:443']", "capabilities.network.allow[0]"),
            ("allow: [a.example, {host: b.example, tls: none}]", "capabilities.network.allow[1]"),
        ] {
            assert_eq!(fields(&manifest(network)), [field], "{network}");
        }
    }
}
