//! Many pods at once, as a kubelet starts and stops them.

use std::net::IpAddr;
use std::time::Instant;

use onsen_harness::cni::{Added, CniError, Plugin, Pod};
use onsen_harness::{HarnessError, Result};

/// Pods that are started or stopped at the same time, as a busy kubelet does.
const AT_ONCE: usize = 16;

/// A pod that runs.
pub(crate) struct Running {
    /// The pod.
    pub(crate) pod: Pod,
    /// What ADD gave.
    pub(crate) added: Added,
}

impl Running {
    /// Its address.
    pub(crate) fn address(&self) -> IpAddr {
        self.added.address
    }
}

/// Starts pods with these names; those that run, and the errors of those that do not.
pub(crate) fn start(plugin: &Plugin, names: &[String]) -> Result<(Vec<Running>, Vec<CniError>)> {
    let outcomes = parallel(names, |name| {
        let pod = Pod::create(name)?;
        let outcome = plugin.add(&pod)?;
        if outcome.is_err() {
            // A runtime cleans up after a failed ADD.
            plugin.must_del(&pod, None)?;
        }
        Ok(outcome.map(|added| Running { pod, added }))
    })?;
    let mut running = Vec::new();
    let mut errors = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(pod) => running.push(pod),
            Err(error) => errors.push(error),
        }
    }
    Ok((running, errors))
}

/// Stops pods the way a runtime does; the address of each and when its DEL began.
pub(crate) fn stop(plugin: &Plugin, pods: &[Running]) -> Result<Vec<(IpAddr, Instant)>> {
    parallel(pods, |running| {
        let began = Instant::now();
        plugin.must_del(&running.pod, Some(&running.added.result))?;
        Ok((running.address(), began))
    })
}

/// Does `work` for each item, some at once; the results in the order of the items.
pub(crate) fn parallel<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return Ok::<_, HarnessError>(done);
            };
            done.push((at, work(item)?));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(items.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, HarnessError>(all)
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
