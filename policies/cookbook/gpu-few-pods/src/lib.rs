//! For nodes with few, long-lived pods, such as those with GPUs: a fixed number of addresses is
//! taken once and never given back.
//!
//! In: a snapshot. Out: growth up to `GPU_PODS` addresses; more only for pods that wait. Must hold:
//! on a node whose pods fit, EC2 is called once in its life.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::steps::{Supply, grow};
use onsen_policy_sdk::{Decision, Draft, Metadata, Placement, Policy, Unit, View};

const PODS: Integer = Integer {
    key: "GPU_PODS",
    default: 12,
    min: 1,
    max: 256,
    doc: "Addresses the node takes when it starts: its GPUs, and the pods of every node.",
};

/// The policy.
pub struct GpuFewPods;

impl Policy for GpuFewPods {
    fn metadata() -> Metadata {
        Metadata {
            name: "gpu-few-pods".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc:
                "Takes a fixed number of addresses once, spreads pods over ENIs, never gives back."
                    .into(),
            settings: [PODS.spec()].into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(GpuFewPods);

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    if view.snapshot.node.terminating {
        return draft.finish(Placement::Spread, "The node is shutting down.".into());
    }
    let supply = Supply::of(view);
    let pods = PODS.read(view.settings());
    let unused = u64::from(pods).saturating_sub(supply.assigned);
    // Those that wait are among the pods that the node was made for.
    let wanted = supply.wanted(0).max(unused);
    let missing = supply.missing(wanted);
    if view.waiting() > 0 {
        draft.pressure(100);
    }
    let verdict = if missing > 0 {
        // A GPU node's few pods never fill a prefix.
        grow(view, missing, Unit::Address, &mut draft)
    } else {
        "enough"
    };
    draft.finish(
        Placement::Spread,
        format!(
            "{} of {pods} addresses are held by pods, {} wait: {verdict}.",
            supply.assigned, supply.waiting
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_sdk::strategies::pools;
    use onsen_policy_sdk::testing::Pool;
    use proptest::prelude::*;

    #[test]
    fn ec2_is_called_once_however_pods_come_and_go() {
        let mut node = Pool::new(15, 49, Unit::Prefix);
        for _ in 0..3 {
            node.rest(|view| Ok(decide(view)));
            for _ in 0..8 {
                node.add_pod();
            }
            node.rest(|view| Ok(decide(view)));
            for _ in 0..8 {
                node.delete_pod();
            }
        }
        assert_eq!((node.history.len(), node.addresses()), (1, 12));
    }

    #[test]
    fn pods_beyond_the_number_are_served_too() {
        let mut node = Pool::new(15, 49, Unit::Address);
        for _ in 0..20 {
            node.add_pod();
        }
        node.rest(|view| Ok(decide(view)));
        assert_eq!((node.waiting, node.assigned()), (0, 20));
    }

    proptest! {
        #[test]
        fn every_pool_comes_to_rest_and_what_went_back_is_not_asked_for(mut node in pools()) {
            node.rest(|view| Ok(decide(view)));
            let asked = node.history.iter().map(|(_, what)| what);
            let after_giving = asked.skip_while(|what| {
                !what.starts_with("Release") && !what.starts_with("DetachEni")
            });
            for what in after_giving {
                prop_assert!(!what.starts_with("Grow") && !what.starts_with("Attach"), "{}", what);
            }
        }
    }
}
