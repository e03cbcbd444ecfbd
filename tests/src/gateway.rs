//! The gateway process: started, signalled, killed, and never left behind.

use std::fs::File;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::Process;
use crate::wait::{PATIENCE, eventually};

/// Where a gateway listens, as it says itself.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The device listeners, in the order of the settings.
    pub device: Vec<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The PAC listener, when there is one.
    pub pac: Option<SocketAddr>,
}

/// A running gateway. Dropped, it is killed.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    /// Where it listens.
    pub addresses: Addresses,
}

/// A gateway is its process, and more.
impl Deref for Gateway {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Gateway {
    /// Starts `portcullis gateway` over the settings file and waits until it listens. With `descriptors`, it begins with
    /// no more than so many to use.
    ///
    /// # Errors
    /// How it ended, when it ends instead.
    ///
    /// # Panics
    /// When it does neither in time.
    pub async fn start(dir: &Path, settings: &Path, descriptors: Option<u32>) -> Result<Self, ExitStatus> {
        let log =
            File::options().create(true).append(true).open(dir.join("gateway.log")).expect("a log file");
        let _ = std::fs::remove_file(dir.join("state/addresses.json"));
        let mut command = match descriptors {
            None => Command::new(binary()),
            Some(count) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]).arg(binary());
                shell
            }
        };
        let child = command
            .args(["gateway", "--config"])
            .arg(settings)
            .current_dir(dir)
            .env("NOTIFY_SOCKET", dir.join("notify.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the gateway's program starts");
        Self::listening(Process(child), &dir.join("state/addresses.json")).await
    }

    async fn listening(mut process: Process, path: &Path) -> Result<Self, ExitStatus> {
        let id = process.id();
        let outcome = eventually(PATIENCE, "the gateway listens", async || {
            if let Some(status) = process.exited() {
                return Some(Err(status));
            }
            addresses(path, id).map(Ok)
        });
        let outcome = outcome.await;
        outcome.map(|addresses| Self { process, addresses })
    }
}

/// What the process of this id has written about where it listens.
pub(crate) fn said(path: &Path, id: u64) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    let said: Value = serde_json::from_str(&text).expect("the file of addresses is written whole");
    (said["pid"].as_u64() == Some(id)).then_some(said)
}

fn addresses(path: &Path, id: u64) -> Option<Addresses> {
    let said = said(path, id)?;
    let address = |value: &Value| value.as_str().map(|text| text.parse().expect("an address"));
    Some(Addresses {
        device: said["device"].as_array()?.iter().filter_map(address).collect(),
        admin: address(&said["admin"])?,
        pac: address(&said["pac"]),
    })
}

/// The program under test: beside the suites in the target directory. Built when it is not there.
///
/// # Panics
/// When it is not there and cannot be built.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("portcullis", "portcullis-proxy"))
}

/// The program that measures: beside the suites in the target directory. Built when it is not there.
///
/// # Panics
/// When it is not there and cannot be built.
#[must_use]
pub fn load_tester() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("loadtest", "portcullis-loadtest"))
}

fn built(program: &str, package: &str) -> PathBuf {
    let suite = std::env::current_exe().expect("a suite is a file");
    let profile = suite.parent().and_then(Path::parent).expect("target/<profile>/deps/<suite>");
    let binary = profile.join(program);
    if !binary.exists() {
        build(profile, package);
    }
    assert!(binary.exists(), "{} has been built", binary.display());
    binary
}

fn build(profile: &Path, package: &str) {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["build", "-p", package, "--profile", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "`cargo build -p {package}` succeeds");
}
