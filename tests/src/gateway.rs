//! The gateway process: started, signalled, killed, and never left behind.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde_json::Value;

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
    child: Child,
    /// Where it listens.
    pub addresses: Addresses,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        Self::listening(child, &dir.join("state/addresses.json")).await
    }

    async fn listening(mut child: Child, path: &Path) -> Result<Self, ExitStatus> {
        let id = u64::from(child.id());
        let outcome = eventually(PATIENCE, "the gateway listens", async || {
            if let Some(status) = child.try_wait().expect("the child can be asked") {
                return Some(Err(status));
            }
            addresses(path, id).map(Ok)
        });
        let outcome = outcome.await;
        outcome.map(|addresses| Self { child, addresses })
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: a child has an id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the gateway is there");
    }

    /// Ends it at once, as the kernel does when memory runs out.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// How it ended; waits for that.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, "the gateway ends", async || self.exited()).await
    }

    /// Leaves it so many file descriptors in all, from now on.
    ///
    /// # Panics
    /// When the system forbids it.
    pub fn limit_descriptors(&self, count: u64) {
        // The hard limit was inherited from this process and stays.
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(count), maximum };
        rustix::process::prlimit(Some(self.pid()), Resource::Nofile, limit).expect("the limit is set");
    }

    /// How many file descriptors it has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(dir).expect("the process is there").count()
    }

    /// Resident memory, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// CPU time used so far, of all threads.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("the process is there");
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 10)
    }
}

/// A short word for how a process ended.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn addresses(path: &Path, id: u64) -> Option<Addresses> {
    let text = std::fs::read_to_string(path).ok()?;
    let said: Value = serde_json::from_str(&text).expect("the file of addresses is written whole");
    if said["pid"].as_u64() != Some(id) {
        return None;
    }
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
    BINARY.get_or_init(|| {
        let suite = std::env::current_exe().expect("a suite is a file");
        let profile = suite.parent().and_then(Path::parent).expect("target/<profile>/deps/<suite>");
        let binary = profile.join("portcullis");
        if !binary.exists() {
            build(profile);
        }
        assert!(binary.exists(), "{} has been built", binary.display());
        binary
    })
}

fn build(profile: &Path) {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let status = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["build", "-p", "portcullis-proxy", "--profile", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "`cargo build -p portcullis-proxy` succeeds");
}
