//! Where is the `portcullis` command, and what does it say? Run as an operator runs it, as a child process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The `portcullis` program.
#[derive(Debug, Clone)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// The program as named, or the one beside this one.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()?.with_file_name("portcullis"),
        };
        let path = path
            .canonicalize()
            .with_context(|| format!("{}: name it with --gateway-binary", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// What it complained of, when it fails.
    pub(crate) fn run(
        &self,
        dir: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<String> {
        let output = Command::new(&self.0).args(arguments).current_dir(dir).output()?;
        if !output.status.success() {
            bail!("{}: {}", self.0.display(), String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What it calls itself.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn version(&self) -> anyhow::Result<String> {
        self.run(Path::new("."), ["--version"])
    }
}
