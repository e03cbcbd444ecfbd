//! `portcullis explain`: which rule decides, and why?
//!
//! The decision function of the data path answers, over the policy of a running gateway or of a directory.

use std::path::PathBuf;

use config::settings::Limits;
use config::{AgentName, Destination, DeviceId, GatewaySettings, Source};
use policy_sync::Approvals;
use proxy::explain::{Explanation, Question};

use super::exit::{Exit, Failure, Outcome};
use super::running::encode;
use super::settings::WhichGateway;
use super::{Printer, Table, policy};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The device that would ask.
    #[arg(long, value_name = "DEVICE")]
    device: DeviceId,
    /// The agent that it would name.
    #[arg(long, value_name = "AGENT")]
    agent: Option<AgentName>,
    /// Where it would go.
    #[arg(value_name = "HOST:PORT", value_parser = destination)]
    destination: Destination,
    /// Ask this policy directory instead of a running gateway.
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    policy: Option<PathBuf>,
    /// The key ring that says which files of the directory count.
    #[arg(long, value_name = "FILE", requires = "policy")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    gateway: WhichGateway,
}

fn destination(text: &str) -> Result<Destination, String> {
    Destination::parse_authority(text.as_bytes()).map_err(|fault| fault.to_string())
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    let explanation = match &arguments.policy {
        Some(directory) => offline(arguments, directory, printer)?,
        None => running(arguments)?,
    };
    printer.data(&explanation, table)?;
    Ok(if explanation.decision == "allow" { Exit::Done } else { Exit::Denied })
}

fn running(arguments: &Arguments) -> Result<Explanation, Failure> {
    let agent = arguments.agent.as_ref().map_or("", AgentName::as_str);
    arguments.gateway.running()?.ask(&format!(
        "/explain?device={}&agent={}&destination={}",
        encode(arguments.device.as_str()),
        encode(agent),
        encode(&arguments.destination.to_string())
    ))
}

fn offline(
    arguments: &Arguments,
    directory: &std::path::Path,
    printer: &Printer,
) -> Result<Explanation, Failure> {
    let settings = arguments.gateway.settings()?;
    let keys = arguments.keys.as_ref().or_else(|| settings.as_ref().map(|settings| &settings.policy.keys));
    let keys = keys.ok_or_else(|| {
        Failure::usage("which keys count is not known")
            .help("name the key ring with --keys, or the settings with --config")
    })?;
    let approvals =
        settings.as_ref().map(|settings| Approvals::new(&settings.policy.approval)).unwrap_or_default();
    let bounds = policy::bounds(settings.as_ref());
    let offline = policy::read(directory, &policy::ring(keys)?, &approvals, bounds)?;
    for (path, why) in &offline.ignored {
        printer.note(format_args!("note: {} does not count: {why}", path.display()));
    }
    let Arguments { device, agent, destination, .. } = arguments;
    let question = Question { device, agent: agent.as_ref(), destination, now: policy::now() };
    Ok(proxy::explain::explain(&offline.snapshot, question, &limits(settings.as_ref())?))
}

/// The limits for what a manifest leaves open: the gateway's, or else those of a gateway without settings of its own.
fn limits(settings: Option<&GatewaySettings>) -> Result<Limits, Failure> {
    if let Some(settings) = settings {
        return Ok(settings.limits.clone());
    }
    let least = "tls = { certificate = \"-\", key = \"-\" }\n\
                 trust = { device_ca = [\"-\"], trust_domain = \"example.org\" }\n\
                 policy = { source = \"dir:-\", keys = \"-\" }\n";
    Ok(GatewaySettings::read(&Source::new("defaults.toml", least))?.limits)
}

fn table(explanation: &Explanation) -> Table {
    let Explanation { decision, reason, hint, destination, device, rule, manifest, .. } = explanation;
    let mut table = Table::default();
    table.pair("decision", Some(decision));
    table.pair("reason", reason.as_ref());
    table.pair("", hint.as_ref());
    table.pair("destination", Some(destination));
    table.pair("device", Some(device));
    table.pair("rule", rule.as_ref());
    table.pair("manifest", manifest.as_ref());
    table.pair("agent", explanation.agent.as_ref());
    table.pair("user", explanation.user.as_ref());
    table.pair("expires", explanation.expires_at.map(policy::date));
    table.pair("tls", explanation.tls.as_ref());
    table.pair("upload per session", explanation.upload_bytes_per_session.as_ref());
    table.pair("upload of the rule", explanation.upload_bytes_of_rule.as_ref());
    table.pair("upload of the manifest", explanation.upload_bytes_of_manifest.as_ref());
    table.pair("revision", Some(explanation.revision));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_can_be_read() {
        assert!(limits(None).is_ok());
    }
}
