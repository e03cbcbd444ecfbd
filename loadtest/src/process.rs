//! What does a process cost? Processor time and resident memory from `/proc`, and children that end with their owner.
//!
//! Linux only, like the figures that it serves.

use std::collections::HashMap;
use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A child process. Dropped, it is killed, by its own id and nothing else's.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Processor time of every thread of a process so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu(HashMap<String, u64>);

impl Cpu {
    /// What the process has used up to now.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))?;
        let mut threads = HashMap::new();
        for task in tasks {
            let task = task?;
            // A thread that ended between the two calls is left out.
            let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            if let Some(nanoseconds) = on_processor(&schedstat) {
                threads.insert(task.file_name().to_string_lossy().into_owned(), nanoseconds);
            }
        }
        Ok(Self(threads))
    }

    /// Processor time between an earlier reading and this one. What threads did that have ended meanwhile is not in it.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used = self.0.iter().map(|(thread, now)| {
            let then = earlier.0.get(thread).copied().unwrap_or(0);
            now.saturating_sub(then)
        });
        Duration::from_nanos(used.sum())
    }
}

/// The first field of a `schedstat`: nanoseconds spent on a processor.
fn on_processor(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process in KiB, exact at this moment.
///
/// # Errors
/// When the process is gone, or is not ours to look into.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| path.clone())?;
    kib_of(&rollup, "Rss:").with_context(|| format!("{path} has no Rss"))
}

/// How many file descriptors a process has open.
///
/// # Errors
/// When the process is gone, or is not ours to look into.
pub(crate) fn descriptors(pid: u32) -> anyhow::Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| path.clone())?.count())
}

fn kib_of(rollup: &str, key: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// Takes all the file descriptors that the system allows, for this process and its children.
///
/// # Errors
/// When the system refuses.
pub(crate) fn raise_descriptor_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).context("the limit of file descriptors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read() {
        assert_eq!(on_processor("100639 2377031 2\n"), Some(100_639));
        assert_eq!(on_processor(""), None);
        let rollup = "5569-7ffd ---p 0 [rollup]\nRss:                1852 kB\nPss:                 293 kB\n";
        assert_eq!(kib_of(rollup, "Rss:"), Some(1852));
        assert_eq!(kib_of(rollup, "Swap:"), None);
    }

    #[test]
    fn time_counts_from_the_earlier_reading_and_new_threads_whole() {
        let earlier = Cpu(HashMap::from([("1".into(), 100), ("2".into(), 50)]));
        let later = Cpu(HashMap::from([("1".into(), 130), ("3".into(), 7)]));
        assert_eq!(later.since(&earlier), Duration::from_nanos(37));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(Cpu::of(pid).unwrap().since(&Cpu::default()) > Duration::ZERO);
        assert!(resident_kib(pid).unwrap() > 0);
        assert!(descriptors(pid).unwrap() > 2);
    }
}
