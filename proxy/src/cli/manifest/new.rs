//! `portcullis manifest new`: what does a manifest look like?

use config::{AgentName, DeviceId, Pattern, UserName};

use crate::cli::Printer;
use crate::cli::exit::{Exit, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The program.
    #[arg(long, default_value = "cowork-v1.0")]
    agent: AgentName,
    /// The person on whose behalf it works.
    #[arg(long, default_value = "alice@example.com")]
    user: UserName,
    /// The device, as its certificate names it.
    #[arg(long, default_value = "device-123")]
    device: DeviceId,
    /// A destination it may reach, as `host[:port]`; repeatable.
    #[arg(long, value_name = "PATTERN", default_value = "api.example.com:443", value_parser = pattern)]
    allow: Vec<String>,
}

fn pattern(text: &str) -> Result<String, String> {
    Pattern::parse(text, config::DefaultPorts::Https)
        .map(|_| text.to_owned())
        .map_err(|fault| fault.to_string())
}

pub(crate) fn run(arguments: &Arguments, printer: &Printer) -> Outcome {
    printer.text(&text(arguments))?;
    Ok(Exit::Done)
}

fn text(arguments: &Arguments) -> String {
    let Arguments { agent, user, device, allow } = arguments;
    let allow: String = allow.iter().map(|pattern| format!("      - \"{pattern}\"\n")).collect();
    format!(
        "# What one agent may do, for one user, on one device. Signing gives it an `id` unless it has one.\n\
         agent: \"{agent}\"\n\
         identity:\n\
         \x20 user: \"{user}\"\n\
         \x20 device: \"{device}\"\n\
         capabilities:\n\
         \x20 network:\n\
         \x20   # host[:port]; port 443 unless given. Names, *.suffixes, addresses, networks.\n\
         \x20   allow:\n\
         {allow}\
         \x20   # Everything else is denied. Entries here make exceptions from a wider entry above.\n\
         \x20   deny: []\n\
         \x20   upload_bytes_per_session: 1MiB\n\
         \x20   upload_bytes: 20MiB\n\
         \x20   sessions: 16\n\
         # From the moment it is signed.\n\
         ttl_seconds: 3600\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use config::{ManifestDraft, Source};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn what_is_printed_is_a_manifest() {
        let line = Line::parse_from([
            "new",
            "--agent",
            "builder",
            "--allow",
            "a.example",
            "--allow",
            "[2001:db8::1]:8443",
        ]);
        let draft = ManifestDraft::read(&Source::new("new.yaml", text(&line.arguments))).unwrap();
        assert_eq!(draft.agent.as_str(), "builder");
        assert_eq!(draft.network.allow.len(), 2);
    }

    #[test]
    fn a_pattern_that_would_be_refused_later_is_refused_now() {
        assert!(Line::try_parse_from(["new", "--allow", "a..example"]).is_err());
        assert!(Line::try_parse_from(["new", "--allow", "a\"\nb"]).is_err());
    }
}
