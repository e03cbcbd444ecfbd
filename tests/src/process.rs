//! A child process under test: signalled, killed, looked into, and never left behind.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::wait::eventually;

/// A running process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Its process id, as a number.
    #[must_use]
    pub fn id(&self) -> u64 {
        u64::from(self.0.id())
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: a child has an id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the process is there");
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("the child can be asked")
    }

    /// How it ended; waits for that.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        eventually(limit, "the process ends", async || self.exited()).await
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
        let dir = format!("/proc/{}/fd", self.0.id());
        std::fs::read_dir(dir).expect("the process is there").count()
    }

    /// Resident memory, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
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
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
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
