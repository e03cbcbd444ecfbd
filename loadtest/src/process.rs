//! What does a process cost? Processor time and resident memory from `/proc`, its children's included, and children that
//! end with their owner.
//!
//! Linux only, like the figures that it serves.

use std::collections::HashMap;
use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// A child process. Dropped, it is killed together with its own children, by their ids and nothing else's.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let children = tree(self.id()).into_iter().skip(1);
        let children: Vec<_> = children.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect();
        // Fails only when it has ended by itself.
        let _gone = self.0.kill();
        for child in children {
            let _gone = kill_process(child, Signal::KILL);
        }
        let _status = self.0.wait();
    }
}

/// The unit in which the kernel accounts for whole processes (`USER_HZ`, 100 on every platform).
const ACCOUNTED: Duration = Duration::from_millis(10);

/// Processor time of a process and its children so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cpu {
    /// Of every thread that lives, in nanoseconds.
    threads: HashMap<String, u64>,
    /// Of everything, threads that have ended included, in units of [`ACCOUNTED`].
    whole: u32,
}

impl Cpu {
    /// What the process has used up to now.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut cpu = Self::default();
        cpu.read(pid)?;
        for child in tree(pid).into_iter().skip(1) {
            // A child that ended between the two calls is left out.
            let _gone = cpu.read(child);
        }
        Ok(cpu)
    }

    /// Reads the threads of one process.
    fn read(&mut self, pid: u32) -> anyhow::Result<()> {
        let process = format!("/proc/{pid}");
        let stat = fs::read_to_string(format!("{process}/stat")).with_context(|| process.clone())?;
        self.whole = self.whole.saturating_add(accounted(&stat).with_context(|| process.clone())?);
        for task in fs::read_dir(format!("{process}/task")).with_context(|| process.clone())? {
            let task = task?;
            // A thread that ended between the two calls is left out.
            let Ok(schedstat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            if let Some(nanoseconds) = on_processor(&schedstat) {
                self.threads.insert(task.file_name().to_string_lossy().into_owned(), nanoseconds);
            }
        }
        Ok(())
    }

    /// Processor time between an earlier reading and this one: that of the threads that live, exact; or that of the whole
    /// process, to ten milliseconds, when so much is missing that threads have ended meanwhile.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let used = self.threads.iter().map(|(thread, now)| {
            let then = earlier.threads.get(thread).copied().unwrap_or(0);
            now.saturating_sub(then)
        });
        let threads = Duration::from_nanos(used.sum());
        let whole = ACCOUNTED * self.whole.saturating_sub(earlier.whole);
        if whole > threads + 3 * ACCOUNTED { whole } else { threads }
    }
}

/// Time in user and in kernel mode, of a `stat`: the 14th and the 15th field, counted behind the name, which may contain
/// anything.
fn accounted(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut time = || fields.next()?.parse::<u32>().ok();
    Some(time()?.saturating_add(time()?))
}

/// The first field of a `schedstat`: nanoseconds spent on a processor.
fn on_processor(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A process and all that it started, itself first.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// Resident memory of a process and its children in KiB, exact at this moment. Pages that they share count for each.
///
/// # Errors
/// When the process is gone, or is not ours to look into.
pub(crate) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    // A child that ended between the two calls is left out.
    let children = tree(pid).into_iter().skip(1).filter_map(|child| resident(child).ok());
    Ok(resident(pid)? + children.sum::<u64>())
}

fn resident(pid: u32) -> anyhow::Result<u64> {
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
    // Who may, goes beyond the hard limit: ten thousand tunnels are more than twenty thousand sockets on either side.
    let most =
        fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let most = most.max(limit.maximum);
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_ok() {
        return Ok(());
    }
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
        let earlier = Cpu { threads: HashMap::from([("1".into(), 100), ("2".into(), 50)]), whole: 7 };
        let later = Cpu { threads: HashMap::from([("1".into(), 130), ("3".into(), 7)]), whole: 10 };
        assert_eq!(later.since(&earlier), Duration::from_nanos(37));
    }

    #[test]
    fn what_ended_threads_did_counts_when_it_is_more_than_accounting_is_off_by() {
        let later = Cpu { threads: HashMap::from([("1".into(), 5_000_000)]), whole: 20 };
        assert_eq!(later.since(&Cpu::default()), Duration::from_millis(200));
    }

    #[test]
    fn a_name_does_not_confuse_the_fields_behind_it() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 10 0 0 0 25 17 0 0 20 0 1 0 9 1 1";
        assert_eq!(accounted(stat), Some(42));
        assert_eq!(accounted("7 (a) S 1"), None);
    }

    #[test]
    fn children_count_and_end_with_their_parent() {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 60 & exec cat"]).stdin(std::process::Stdio::piped());
        let running = Running(shell.spawn().unwrap());
        let began = std::time::Instant::now();
        while tree(running.id()).len() < 2 && began.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        let pids = tree(running.id());
        let [parent, child] = pids[..] else { panic!("{pids:?}") };
        let alone = resident(parent).unwrap();
        let both = resident_kib(parent).unwrap();
        assert!(both > alone, "{both} KiB with the child, {alone} without");
        let threads = Cpu::of(parent).unwrap().threads;
        assert!(threads.contains_key(&parent.to_string()) && threads.contains_key(&child.to_string()));
        drop(running);
        while resident(child).is_ok() && began.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        assert!(resident(child).is_err(), "the child outlived its parent");
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(Cpu::of(pid).unwrap().since(&Cpu::default()) > Duration::ZERO);
        assert!(resident_kib(pid).unwrap() > 0);
        assert!(descriptors(pid).unwrap() > 2);
    }
}
