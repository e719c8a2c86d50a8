//! Keeps N addresses free, grows in one step to cover the pods that wait, and gives back what has
//! been idle.
#![cfg_attr(target_arch = "wasm32", no_std)]
extern crate alloc;

use alloc::format;
use alloc::string::String;

use onsen_policy_sdk::settings::Integer;
use onsen_policy_sdk::steps::{Supply, settle};
use onsen_policy_sdk::{Decision, Draft, Metadata, Placement, Policy, View};

const KEEP_FREE: Integer = Integer {
    key: "KEEP_FREE",
    default: 4,
    min: 0,
    max: 1024,
    doc: "Addresses kept free for the next pods.",
};
const IDLE_SECONDS: Integer = Integer {
    key: "IDLE_SECONDS",
    default: 120,
    min: 0,
    max: 86_400,
    doc: "How long a block must have been without a pod before it goes back.",
};

/// The policy.
pub struct KeepNFree;

impl Policy for KeepNFree {
    fn metadata() -> Metadata {
        Metadata {
            name: "keep-n-free".into(),
            version: "0.1.0".into(),
            doc:
                "Keeps N addresses free, covers waiting pods in one step, gives back what is idle."
                    .into(),
            settings: [KEEP_FREE.spec(), IDLE_SECONDS.spec()].into(),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        Ok(decide(view))
    }
}

onsen_policy_sdk::export_policy!(KeepNFree);

/// One decision.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::default();
    let node = &view.snapshot.node;
    if node.terminating {
        let reason = "The node is shutting down: nothing is changed.";
        return draft.finish(Placement::Pack, reason.into());
    }
    let supply = Supply::of(view);
    // No pod will come to a cordoned node; those that wait are there already.
    let keep = if node.schedulable {
        KEEP_FREE.read(view.settings())
    } else {
        0
    };
    let wanted = supply.wanted(keep.into());
    let verdict = settle(view, wanted, IDLE_SECONDS.read(view.settings()), &mut draft);
    let Supply {
        free,
        cooling,
        coming,
        waiting,
        ..
    } = supply;
    let found = format!(
        "{free} free, {cooling} cooling, {coming} coming, {waiting} waiting, {wanted} wanted"
    );
    draft.finish(Placement::Pack, format!("{found}: {verdict}."))
}

#[cfg(test)]
mod tests;
