//! For subnets that are nearly empty: while addresses are scarce nothing is kept free and what is
//! idle goes back at once; else a few are kept.
//!
//! In: a snapshot. Out: single addresses only, for a whole /28 is the first thing such a subnet
//! lacks. Must hold: pods that wait are served as long as the subnet has an address.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]
extern crate alloc;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::steps::{Supply, grow, shrink};
use onsen_policy_sdk::{Decision, Draft, Metadata, Placement, Policy, Unit, View};

const KEEP_FREE: Integer = Integer {
    key: "SCARCE_KEEP_FREE",
    default: 2,
    min: 0,
    max: 64,
    doc: "Addresses kept free while the subnet has enough.",
};
const BELOW: Integer = Integer {
    key: "SCARCE_BELOW",
    default: 128,
    min: 0,
    max: 65_536,
    doc: "Free addresses of the subnet below which they are scarce.",
};
/// How long a block stays idle while the subnet has enough.
const IDLE_SECONDS: u32 = 60;
/// How long a shortage that EC2 told is believed: half an hour.
const SHORTAGE: u64 = 1_800_000;

/// The policy.
pub struct ScarceSubnet;

impl Policy for ScarceSubnet {
    fn metadata() -> Metadata {
        Metadata {
            name: "scarce-subnet".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc: "Takes single addresses, keeps few, and none while the subnet runs short.".into(),
            settings: [KEEP_FREE.spec(), BELOW.spec()].into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(ScarceSubnet);

fn is_scarce(view: &View<'_>) -> bool {
    let below = BELOW.read(view.settings());
    let now = view.snapshot.now;
    let own = view.snapshot.subnets.iter().find(|subnet| subnet.own);
    own.is_some_and(|subnet| {
        subnet.free_addresses.is_some_and(|free| free < below)
            || (subnet.no_addresses_at > 0 && subnet.no_addresses_at + SHORTAGE > now)
    })
}

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let node = &view.snapshot.node;
    if node.terminating {
        return draft.finish(Placement::Pack, "The node is shutting down.".into());
    }
    let scarce = is_scarce(view);
    let keep = if scarce || !node.schedulable {
        0
    } else {
        KEEP_FREE.read(view.settings())
    };
    let supply = Supply::of(view);
    let wanted = supply.wanted(keep.into());
    let missing = supply.missing(wanted);
    if view.waiting() > 0 {
        draft.pressure(100);
    } else if scarce {
        draft.pressure(50);
    }
    let verdict = if missing > 0 {
        grow(view, missing, Unit::Address, &mut draft)
    } else if supply.waiting == 0 {
        let idle_seconds = if scarce { 0 } else { IDLE_SECONDS };
        shrink(view, supply.spare(wanted), idle_seconds, &mut draft)
    } else {
        "enough"
    };
    let state = if scarce { "runs short" } else { "has enough" };
    draft.finish(
        Placement::Pack,
        format!("The subnet {state}; {keep} are kept free: {verdict}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_sdk::strategies::pools;
    use onsen_policy_sdk::testing::Pool;
    use proptest::prelude::*;

    #[test]
    fn prefixes_are_never_asked_for() {
        let mut node = Pool::new(3, 9, Unit::Prefix);
        node.add_pod();
        node.rest(|view| Ok(decide(view)));
        assert_eq!((node.count(Unit::Prefix), node.free()), (0, 2));
    }

    #[test]
    fn what_is_idle_goes_back_at_once_when_the_subnet_runs_short() {
        let mut node = Pool::new(3, 9, Unit::Address);
        node.rest(|view| Ok(decide(view)));
        let mut snapshot = node.snapshot();
        snapshot.subnets[0].free_addresses = Some(100);
        let decision = decide(&View::new(&snapshot));
        assert_eq!(decision.actions.len(), 1, "{decision:?}");
        node.apply(&decision);
        assert_eq!(node.free(), 0);
    }

    #[test]
    fn a_waiting_pod_is_served_from_a_short_subnet() {
        let mut node = Pool::new(3, 9, Unit::Address);
        node.add_pod();
        let mut snapshot = node.snapshot();
        snapshot.subnets[0].free_addresses = Some(3);
        node.apply(&decide(&View::new(&snapshot)));
        assert_eq!((node.waiting, node.addresses()), (0, 1));
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
