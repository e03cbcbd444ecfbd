//! Which core works for whom? The proxy on one, the load on another, so that neither is measured waiting for the other.
//!
//! Affinity is inherited by threads and children: it has to be set before a child is started or a runtime is built.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores this process may use, divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    proxy: CpuSet,
    load: CpuSet,
}

impl Cores {
    /// The first core for the proxy, the others for the load. `None` on a machine with one core.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn divide() -> anyhow::Result<Option<Self>> {
        let all = sched_getaffinity(None).context("the cores of this process")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let Some(first) = cores.next() else { return Ok(None) };
        let (mut proxy, mut load) = (CpuSet::new(), CpuSet::new());
        proxy.set(first);
        cores.for_each(|core| load.set(core));
        Ok((load.count() > 0).then_some(Self { proxy, load }))
    }

    /// Lets this thread, and what it starts, run where the proxy belongs.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn as_proxy(&self) -> anyhow::Result<()> {
        sched_setaffinity(None, &self.proxy).context("pinning the proxy")
    }

    /// Lets this thread, and what it starts, run where the load belongs.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn as_load(&self) -> anyhow::Result<()> {
        sched_setaffinity(None, &self.load).context("pinning the load")
    }
}

/// Does `work`, and lets this thread run afterwards where it ran before, however `work` was divided.
///
/// # Errors
/// Those of `work`, and when the system refuses.
pub(crate) fn undivided_again<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let before = sched_getaffinity(None).context("the cores of this process")?;
    let outcome = work();
    sched_setaffinity(None, &before).context("taking back all cores")?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_work_all_cores_are_back() {
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|core| before.is_set(*core)).unwrap();
        let narrowed = undivided_again(|| {
            let mut one = CpuSet::new();
            one.set(first);
            sched_setaffinity(None, &one)?;
            Ok(sched_getaffinity(None)?.count())
        });
        assert_eq!(narrowed.unwrap(), 1);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
