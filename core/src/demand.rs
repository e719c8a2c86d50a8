//! What pods want: who waits, and how many addresses were taken and given back lately.
//!
//! Must hold: first come, first served; two requests for one sandbox wait as one.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use crate::ids::{PodName, RequestId, SandboxKey};
use crate::snapshot::Demand;
use crate::time::{MINUTE, Millis};

/// A sandbox that waits for an address.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) requests: Vec<RequestId>,
    pub(crate) key: SandboxKey,
    pub(crate) pod: PodName,
    pub(crate) since: Millis,
    pub(crate) deadline: Millis,
}

/// Waiting sandboxes, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(pub(crate) VecDeque<Waiter>);

impl Waiting {
    pub(crate) fn join(
        &mut self,
        request: RequestId,
        key: SandboxKey,
        pod: PodName,
        now: Millis,
        deadline: Millis,
    ) {
        if let Some(waiter) = self.0.iter_mut().find(|waiter| waiter.key == key) {
            waiter.requests.push(request);
            waiter.deadline = waiter.deadline.max(deadline);
            return;
        }
        self.0.push_back(Waiter {
            requests: vec![request],
            key,
            pod,
            since: now,
            deadline,
        });
    }

    pub(crate) fn remove(&mut self, key: &SandboxKey) -> Option<Waiter> {
        let place = self.0.iter().position(|waiter| waiter.key == *key)?;
        self.0.remove(place)
    }

    pub(crate) fn oldest(&self) -> Option<Millis> {
        self.0.front().map(|waiter| waiter.since)
    }
}

/// How far back anything is counted.
const WINDOW: Millis = 15 * MINUTE;
/// More events than this in the window are not told apart any more.
const CAPACITY: usize = 8_192;

/// Times of the last takings and givings.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    adds: VecDeque<Millis>,
    deletes: VecDeque<Millis>,
}

impl History {
    pub(crate) fn added(&mut self, now: Millis) {
        record(&mut self.adds, now);
    }

    pub(crate) fn deleted(&mut self, now: Millis) {
        record(&mut self.deletes, now);
    }

    /// The contract's `demand`, for the sandboxes that wait.
    pub(crate) fn demand(&self, waiting: &Waiting, now: Millis) -> Demand {
        let since = |times: &VecDeque<Millis>, minutes: Millis| {
            let from = now.saturating_sub(minutes * MINUTE);
            (times.len() - times.partition_point(|time| *time < from)) as u32
        };
        Demand {
            waiting: waiting
                .0
                .iter()
                .take(256)
                .map(|waiter| now.saturating_sub(waiter.since))
                .collect(),
            scheduled: 0,
            adds_1m: since(&self.adds, 1),
            adds_5m: since(&self.adds, 5),
            adds_15m: since(&self.adds, 15),
            deletes_1m: since(&self.deletes, 1),
            deletes_5m: since(&self.deletes, 5),
            deletes_15m: since(&self.deletes, 15),
        }
    }
}

fn record(times: &mut VecDeque<Millis>, now: Millis) {
    times.push_back(now);
    let from = now.saturating_sub(WINDOW);
    while times.len() > CAPACITY || times.front().is_some_and(|time| *time < from) {
        times.pop_front();
    }
}
