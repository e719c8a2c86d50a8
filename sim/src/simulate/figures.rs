//! What a run cost, in numbers.

use std::collections::BTreeMap;

use onsen_core::time::{MINUTE, Millis};
use serde::Serialize;

use crate::account::Operation;
use crate::world::{CallMade, Ended, Sample};

const HOUR: f64 = 60.0 * MINUTE as f64;

/// What a run cost. The figures of several nodes are added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How long the node was watched.
    pub hours: f64,
    /// Addresses attached and held by no pod, cooling ones too, times how long that was.
    pub idle_address_hours: f64,
    /// Addresses held by pods, times how long that was.
    pub used_address_hours: f64,
    /// The most addresses attached at a moment.
    pub peak_addresses: u32,
    /// EC2 calls, by operation.
    pub ec2_calls: BTreeMap<&'static str, u64>,
    /// All of them.
    pub ec2_calls_total: u64,
    /// Of these, calls that change something: no Describe.
    pub ec2_changes: u64,
    /// Calls that EC2 throttled.
    pub throttled: u64,
    /// Pods.
    pub pods: Pods,
    /// How long pods waited for an address.
    pub pod_wait_ms: Waits,
    /// ENIs that came and went.
    pub eni_churn: Churn,
}

/// What became of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pods {
    /// Pods that came.
    pub arrived: u64,
    /// Pods that got an address.
    pub served: u64,
    /// Pods that wait at the end.
    pub waiting: u64,
    /// Pods for which the node had no room by its max-pods: they never came.
    pub elsewhere: u64,
    /// Requests that ended without an address, by reason. One pod may be refused often.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Milliseconds from a pod's arrival to its address, retries included, of the pods that got one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Half of them waited at most so long.
    pub p50: Millis,
    /// 95 of 100.
    pub p95: Millis,
    /// 99 of 100.
    pub p99: Millis,
    /// All.
    pub max: Millis,
}

/// ENIs that came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Churn {
    /// Attached.
    pub attached: u64,
    /// Detached.
    pub detached: u64,
}

impl Waits {
    /// Of a sorted list.
    pub fn of(sorted: &[Millis]) -> Self {
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }
}

impl Figures {
    /// Of one node that was watched until `end`.
    pub(super) fn of(
        samples: &[Sample],
        calls: &[CallMade],
        waits: &[Millis],
        pods: Pods,
        end: Millis,
    ) -> Self {
        let ends = samples.iter().skip(1).map(|sample| sample.at).chain([end]);
        let (mut idle, mut used) = (0.0, 0.0);
        for (sample, until) in samples.iter().zip(ends) {
            let span = until.saturating_sub(sample.at) as f64 / HOUR;
            idle += f64::from(sample.addresses.saturating_sub(sample.assigned)) * span;
            used += f64::from(sample.assigned) * span;
        }
        let mut ec2_calls = BTreeMap::new();
        for call in calls {
            *ec2_calls.entry(call.operation.name()).or_default() += 1;
        }
        let done = |operation: Operation| {
            let did = |call: &&CallMade| {
                call.operation == operation && matches!(call.ended, Ended::Done | Ended::Lost)
            };
            calls.iter().filter(did).count() as u64
        };
        Self {
            hours: end as f64 / HOUR,
            idle_address_hours: idle,
            used_address_hours: used,
            peak_addresses: samples.iter().map(|it| it.addresses).max().unwrap_or(0),
            ec2_calls_total: calls.len() as u64,
            ec2_changes: calls.iter().filter(|call| changes(call)).count() as u64,
            ec2_calls,
            throttled: calls
                .iter()
                .filter(|call| call.ended == Ended::Throttled)
                .count() as u64,
            pods,
            pod_wait_ms: Waits::of(waits),
            eni_churn: Churn {
                attached: done(Operation::AttachNetworkInterface),
                detached: done(Operation::DetachNetworkInterface),
            },
        }
    }

    /// Of several nodes, each with the sorted waits of its pods.
    pub(super) fn sum<'a>(nodes: impl Iterator<Item = (&'a Self, &'a [Millis])>) -> Self {
        let mut sum = Self::default();
        let mut all_waits = Vec::new();
        for (node, waits) in nodes {
            all_waits.extend_from_slice(waits);
            sum.hours = sum.hours.max(node.hours);
            sum.idle_address_hours += node.idle_address_hours;
            sum.used_address_hours += node.used_address_hours;
            sum.peak_addresses += node.peak_addresses;
            add(&mut sum.ec2_calls, &node.ec2_calls);
            sum.ec2_calls_total += node.ec2_calls_total;
            sum.ec2_changes += node.ec2_changes;
            sum.throttled += node.throttled;
            sum.pods.arrived += node.pods.arrived;
            sum.pods.served += node.pods.served;
            sum.pods.waiting += node.pods.waiting;
            sum.pods.elsewhere += node.pods.elsewhere;
            add(&mut sum.pods.refused, &node.pods.refused);
            sum.eni_churn.attached += node.eni_churn.attached;
            sum.eni_churn.detached += node.eni_churn.detached;
        }
        all_waits.sort_unstable();
        sum.pod_wait_ms = Waits::of(&all_waits);
        sum
    }
}

fn add(sum: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (key, count) in more {
        *sum.entry(key).or_default() += count;
    }
}

/// Whether the call changes something.
fn changes(call: &CallMade) -> bool {
    !call.operation.name().starts_with("Describe")
}
