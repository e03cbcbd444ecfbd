//! Where do log lines go? To standard error, as the settings say.

use std::io::{self, IsTerminal as _};

use config::settings::LogFormat;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;

/// Begins logging. Text is escaped by the formatter, so what a peer chose cannot forge a line.
/// `setting` is what `levels` were read from.
pub(crate) fn begin(setting: &str, levels: &str, format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(levels)
        .map_err(|fault| Failure::configuration(format_args!("{setting}: {fault}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => lines.json().finish().try_init(),
        LogFormat::Text => {
            let colour = io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            lines.with_ansi(colour).finish().try_init()
        }
    }
    .map_err(Failure::new)
}
