//! How did a command go? The exit codes, and failures that name their remedy.

use std::fmt;
use std::process::ExitCode;

use config::Problems;

/// What a command comes to when nothing stood in its way.
pub(crate) type Outcome = Result<Exit, Failure>;

/// The exit codes, which scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or: allowed.
    Done = 0,
    /// It was tried, and failed.
    Failed = 1,
    /// The arguments make no sense together.
    Usage = 2,
    /// Denied: the destination, the manifest, the signature.
    Denied = 3,
    /// Settings, key rings or policy files that cannot be used.
    BadConfiguration = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Failure {
    /// It was tried, and failed.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string(), help: None }
    }

    /// The arguments make no sense together.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// A file that the command depends on cannot be used.
    pub(crate) fn configuration(message: impl fmt::Display) -> Self {
        Self { exit: Exit::BadConfiguration, ..Self::new(message) }
    }

    /// The same, and what to do about it.
    pub(crate) fn help(self, help: impl fmt::Display) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(fault: anyhow::Error) -> Self {
        Self::new(format_args!("{fault:#}"))
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        Self::configuration(format_args!("{count}\n{problems}"))
    }
}

/// Says what was being done when something failed.
pub(crate) trait During<T> {
    /// `reading keys.toml: no such file`.
    fn during(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|fault| Failure::new(format_args!("{what}: {fault}")))
    }
}
