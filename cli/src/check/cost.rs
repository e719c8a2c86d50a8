//! What a policy costs: fuel, time and memory of one decision on each of a few reference nodes.
//!
//! In: a policy. Out: the worst of each, and the node on which it was met. Fuel and memory are the
//! same on every machine; time is this one's.

use std::time::Instant;

use onsen_core::snapshot::Snapshot;
use onsen_policy_runner::documents::SnapshotDocument;
use onsen_policy_runner::{Policy, PolicyError};
use onsen_sim::account::InstanceType;
use serde_json::{Value, json};

/// The worst of each.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// Reference nodes that it was asked about.
    pub(crate) snapshots: usize,
    pub(crate) fuel: u64,
    pub(crate) fuel_on: &'static str,
    pub(crate) millis: f64,
    pub(crate) millis_on: &'static str,
    pub(crate) memory_bytes: usize,
}

/// Asks about each node. A policy may refuse to decide on one of them; that is an answer too.
pub(crate) fn measure(policy: &Policy) -> Result<Cost, PolicyError> {
    let mut cost = Cost::default();
    for (name, document) in nodes() {
        // The documents are ours: a test reads each of them.
        let Some(snapshot) = snapshot(document) else {
            continue;
        };
        cost.snapshots += 1;
        let start = Instant::now();
        let decided = match policy.decide(&snapshot) {
            Err(PolicyError::Refused(_)) => continue,
            other => other?,
        };
        let millis = start.elapsed().as_secs_f64() * 1_000.0;
        if decided.fuel > cost.fuel {
            (cost.fuel, cost.fuel_on) = (decided.fuel, name);
        }
        if millis > cost.millis {
            (cost.millis, cost.millis_on) = (millis, name);
        }
        cost.memory_bytes = cost.memory_bytes.max(decided.memory_bytes);
    }
    Ok(cost)
}

fn snapshot(document: Value) -> Option<Snapshot> {
    let document: SnapshotDocument = serde_json::from_value(document).ok()?;
    document
        .into_snapshot(|name| InstanceType::find(name).map(|kind| kind.limits()))
        .ok()
}

/// So many ENIs with so many single addresses each, of which so many are held by pods.
fn enis(count: usize, addresses: u32, assigned: u32) -> Value {
    let free = json!({"repeat": addresses - assigned});
    let held = json!({"repeat": assigned, "assigned": 1});
    let blocks = match (assigned, addresses - assigned) {
        (0, _) => vec![free],
        (_, 0) => vec![held],
        _ => vec![held, free],
    };
    vec![json!({"blocks": blocks}); count].into()
}

fn nodes() -> Vec<(&'static str, Value)> {
    let large = json!({"instance_type": "m5.24xlarge", "max_pods": 737});
    let failed = json!([{"operation": "grow", "code": "InsufficientFreeAddressesInSubnet"}]);
    vec![
        ("a new m5.large", json!({})),
        (
            "an m5.large full of pods",
            json!({"node": {"max_pods": 29}, "enis": enis(3, 9, 9)}),
        ),
        (
            "an idle m5.4xlarge",
            json!({"node": {"instance_type": "m5.4xlarge"}, "enis": enis(2, 29, 0)}),
        ),
        (
            "an m5.4xlarge with prefixes and waiting pods",
            json!({
                "node": {"instance_type": "m5.4xlarge", "max_pods": 234},
                "unit": "prefix",
                "enis": [{"blocks": [{"cidr": "10.0.0.16/28", "repeat": 3, "assigned": 16}]}],
                "demand": {"waiting": ["9s", "8s", "1s"], "scheduled": 40},
            }),
        ),
        (
            "a short subnet",
            json!({
                "enis": enis(1, 2, 2),
                "demand": {"waiting": ["30s"]},
                "subnets": [{"free_addresses": 0, "no_addresses_at": "now-5s"}],
                "ec2": {"outcomes": failed},
            }),
        ),
        (
            "a node that shuts down",
            json!({"node": {"terminating": true}, "enis": enis(1, 9, 3)}),
        ),
        (
            "an m5.24xlarge half full",
            json!({"node": large, "enis": enis(15, 49, 25)}),
        ),
        (
            "an m5.24xlarge full of pods",
            json!({
                "node": large, "enis": enis(15, 49, 49), "demand": {"waiting": ["4s", "2s"]},
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_runner::{Engine, Limits, builtin};

    #[test]
    fn each_reference_node_is_asked_about_and_the_largest_costs_most() {
        let engine = Engine::new(Limits::default(), None).unwrap();
        let policy = engine
            .load(builtin::get("default-warm-eni").unwrap())
            .unwrap();
        let cost = measure(&policy).unwrap();
        assert_eq!(cost.snapshots, nodes().len());
        assert!(cost.fuel_on.contains("24xlarge"), "{cost:?}");
        assert!(cost.fuel > 1_000 && cost.memory_bytes >= 65_536, "{cost:?}");
    }
}
